package oci

import (
	"io"
	"os"
	"syscall"
)

// keepOwners gives streams back to whom they belong: runtimes give them to the command's user, terminals and files of the caller too.
func keepOwners(streams ...any) (restore func()) {
	type owner struct {
		f        *os.File
		uid, gid int
	}
	var list []owner
	for _, s := range streams {
		f, ok := s.(*os.File)
		if !ok || f == nil {
			continue
		}
		if uid, gid, ok := ownerOf(f); ok {
			list = append(list, owner{f, uid, gid})
		}
	}
	return func() {
		for _, o := range list {
			if uid, gid, ok := ownerOf(o.f); ok && (uid != o.uid || gid != o.gid) {
				_ = o.f.Chown(o.uid, o.gid)
			}
		}
	}
}

// input is what a runtime gets as standard input. Instead of /dev/null, which it would give to the command's user, for everybody on this machine and,
// with several at the same time, for good, it is a pipe at whose end nobody is.
func input(f *os.File) (*os.File, error) {
	if f != nil && !isNull(f) {
		return f, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return r, w.Close()
}

// output is what a runtime writes to: for want of anything a pipe again, whose content is lost.
func output(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// isNull tells whether a file is /dev/null, under whatever name.
func isNull(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Rdev == nullDevice
}

// nullDevice is the number of /dev/null, 1:3.
const nullDevice = 1<<8 | 3

func ownerOf(f *os.File) (uid, gid int, ok bool) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}

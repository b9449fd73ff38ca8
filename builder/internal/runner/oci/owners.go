package oci

import (
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

package owners

import (
	"errors"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// view shows a file as it is recorded, written to addr by show. A file without a record is the kernel's to show, and so is every
// error: looking at files is what processes do most.
func (c *call) view(dirfd int, name string, nofollow, empty bool, show func(f *file) ([]byte, error), addr uint64) result {
	if name == "" && !c.recorded(dirfd) {
		return proceed()
	}
	f, ok := c.glimpse(dirfd, name, nofollow)
	if !ok {
		var err error
		if f, err = c.file(dirfd, name, nofollow, empty); err != nil {
			return proceed()
		}
	}
	defer f.close()
	if !f.recorded {
		return proceed()
	}
	b, err := show(f)
	if err != nil || !c.valid() {
		return proceed()
	}
	if err := c.write(addr, b); err != nil {
		return failed(unix.EFAULT)
	}
	return done(0)
}

// glimpse looks at a name from the directory that it is in, without opening it: the cheapest way where that directory is what the target
// named by a descriptor. Not ok: another way must be taken. The file's descriptor is its directory's.
func (c *call) glimpse(dirfd int, name string, nofollow bool) (*file, bool) {
	if c.s.noGlimpse || name == "" || name == "." || name == ".." || strings.Contains(name, "/") {
		return nil, false
	}
	at, err := c.start(dirfd)
	if err != nil {
		return nil, false
	}
	f := &file{fd: at, name: name}
	if f.looked(c.s, nofollow) {
		return f, true
	}
	f.close()
	return nil, false
}

// looked fills in what is known of a name in the directory. Links to be followed are left to others, and files that change meanwhile: a
// record must not be shown with somebody else's state.
func (f *file) looked(s *Supervisor, nofollow bool) bool {
	err := unix.Fstatat(f.fd, f.name, &f.st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return true // nothing is recorded of what is not there
	}
	if err != nil || !nofollow && f.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return false
	}
	known := true // a record that was read before is of the file as it was just found
	f.meant, f.recorded = s.lookup(&f.st, spot{dir: f.fd, name: f.name}, func() (o rootfs.Override, ok bool) {
		known = false
		o, ok, err = rootfs.ReadOverrideIn(f.fd, f.name, f.st.Mode, false)
		return o, ok
	})
	if err != nil {
		s.noGlimpse = true
		clear(s.seen) // this is no sight
		return false
	}
	if !f.recorded || known {
		return true
	}
	before := f.st
	err = unix.Fstatat(f.fd, f.name, &f.st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && f.st.Dev == before.Dev && f.st.Ino == before.Ino && f.st.Ctim == before.Ctim && f.st.Mode == before.Mode
}

// recorded tells whether there is a record of what a descriptor leads to. It is the short way for most of what is looked at: no
// file is opened for it.
func (c *call) recorded(dirfd int) bool {
	var st unix.Stat_t
	if fd, ok := c.take(dirfd); ok {
		defer unix.Close(fd)
		if unix.Fstat(fd, &st) != nil {
			return false
		}
		_, ok := c.s.lookup(&st, spot{dir: fd}, func() (rootfs.Override, bool) { return rootfs.ReadOverrideFrom(fd, st.Mode) })
		return ok
	}
	link := c.base(dirfd)
	if unix.Stat(link, &st) != nil {
		return false
	}
	_, ok := c.s.lookup(&st, spot{dir: unix.AT_FDCWD, name: link, follow: true}, func() (rootfs.Override, bool) { return rootfs.ReadOverrideAt(link, st.Mode) })
	return ok
}

func (c *call) viewPath(dirfd, arg int, nofollow, empty bool, show func(f *file) ([]byte, error), addr uint64) result {
	name := ""
	if c.n.args[arg] != 0 || !empty { // NULL is the empty name for newer kernels
		var err error
		if name, err = c.text(c.n.args[arg]); err != nil {
			return proceed()
		}
	}
	return c.view(dirfd, name, nofollow, empty, show, addr)
}

// structStat is the kernel's struct stat with the recorded values.
func structStat(f *file) ([]byte, error) {
	st := f.st
	st.Uid, st.Gid = uint32(f.meant.UID), uint32(f.meant.GID)
	if f.meant.Device != 0 {
		st.Mode, st.Rdev = st.Mode&0o7777|f.meant.Device, f.meant.Rdev
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), nil
}

func stat(c *call) result {
	return c.viewPath(unix.AT_FDCWD, 0, false, false, structStat, c.n.args[1])
}

func lstat(c *call) result {
	return c.viewPath(unix.AT_FDCWD, 0, true, false, structStat, c.n.args[1])
}

func fstat(c *call) result { return c.view(c.arg(0), "", false, true, structStat, c.n.args[1]) }

func fstatat(c *call) result {
	flags := c.arg(3)
	return c.viewPath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0, structStat, c.n.args[2])
}

func statx(c *call) result {
	flags := c.arg(2)
	show := func(f *file) ([]byte, error) {
		var st unix.Statx_t
		sync := flags & (unix.AT_STATX_FORCE_SYNC | unix.AT_STATX_DONT_SYNC)
		if err := unix.Statx(f.fd, f.name, sync|unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, c.arg(3), &st); err != nil {
			return nil, err
		}
		if st.Mask&unix.STATX_INO != 0 && st.Ino != f.st.Ino { // another file has got the name
			return nil, unix.ESTALE
		}
		st.Uid, st.Gid = uint32(f.meant.UID), uint32(f.meant.GID)
		if f.meant.Device != 0 {
			st.Mode = st.Mode&0o7777 | uint16(f.meant.Device)
			st.Rdev_major, st.Rdev_minor = unix.Major(f.meant.Rdev), unix.Minor(f.meant.Rdev)
		}
		return unsafe.Slice((*byte)(unsafe.Pointer(&st)), unsafe.Sizeof(st)), nil
	}
	return c.viewPath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0, show, c.n.args[4])
}

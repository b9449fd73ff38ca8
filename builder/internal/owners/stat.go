package owners

import (
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
	f, err := c.file(dirfd, name, nofollow, empty)
	if err != nil {
		return proceed()
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

// recorded tells whether there is a record of what a descriptor leads to. It is the short way for most of what is looked at: no
// file is opened for it.
func (c *call) recorded(dirfd int) bool {
	var st unix.Stat_t
	path := c.base(dirfd)
	if unix.Stat(path, &st) != nil {
		return false
	}
	_, ok := c.s.lookup(&st, func() (rootfs.Override, bool) { return rootfs.ReadOverrideAt(path, st.Mode) })
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
		if err := unix.Statx(f.fd, "", sync|unix.AT_EMPTY_PATH, c.arg(3), &st); err != nil {
			return nil, err
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

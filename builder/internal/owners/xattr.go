package owners

import (
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Records are extended attributes, but none of the step's: programs that copy all attributes of a file (cp -a, rsync -X) must not see
// them, or the copy that somebody else makes would have the owner of the original; and a step must not write one, which could name a device
// that it may not make. Reading one by its name harms nobody, and is not worth a call to us for each file that ls shows.

// list answers a call for names of attributes: without those of records. path says where, as /proc does.
func (c *call) list(path string, addr, size uint64) result {
	buf := c.s.names
	n, err := unix.Listxattr(path, buf)
	if err != nil {
		return proceed()
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return proceed()
	}
	var names strings.Builder
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name != "" && !rootfs.IsRecordName(name, st.Mode) {
			names.WriteString(name + "\x00")
		}
	}
	switch text := names.String(); {
	case len(text) == n || !c.valid():
		return proceed()
	case size == 0:
		return done(int64(len(text)))
	case size < uint64(len(text)):
		return result{errno: unix.ERANGE}
	default:
		if err := c.write(addr, []byte(text)); err != nil {
			return failed(unix.EFAULT)
		}
		return done(int64(len(text)))
	}
}

// attributed opens the file of a call about attributes, for f.
func (c *call) attributed(dirfd, arg int, nofollow, empty bool, f func(path string) result) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return proceed()
	}
	fd, err := c.open(dirfd, name, nofollow, empty)
	if err != nil {
		return proceed()
	}
	defer unix.Close(fd)
	return f(own(fd))
}

// attributedBy is attributed for a descriptor.
func (c *call) attributedBy(fd int, f func(path string) result) result {
	file, err := c.held(fd)
	if err != nil {
		return proceed()
	}
	defer file.close()
	return f(own(file.fd))
}

func (c *call) listPath(dirfd, arg int, nofollow, empty bool, rest int) result {
	return c.attributed(dirfd, arg, nofollow, empty, func(path string) result {
		return c.list(path, c.n.args[rest], c.n.args[rest+1])
	})
}

func listxattr(c *call) result  { return c.listPath(unix.AT_FDCWD, 0, false, false, 1) }
func llistxattr(c *call) result { return c.listPath(unix.AT_FDCWD, 0, true, false, 1) }
func flistxattr(c *call) result {
	return c.attributedBy(c.arg(0), func(path string) result { return c.list(path, c.n.args[1], c.n.args[2]) })
}
func listxattrat(c *call) result {
	flags := c.arg(2)
	return c.listPath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0, 3)
}

// accessACL is an attribute whose setting changes the permissions: cp -p sets them so. A directory's defaultACL is for what is made in it.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// mine refuses a change of an attribute that is a record, as a file system that has no such attributes; programs go on then. at
// finds the file; it is asked only where the name alone does not tell.
func (c *call) mine(nameArg int, at func(f func(path string) result) result) result {
	name, err := c.text(c.n.args[nameArg])
	switch {
	case err != nil:
		return proceed()
	case rootfs.IsRecordName(name, unix.S_IFREG):
		return result{errno: unix.ENOTSUP}
	case name == accessACL || name == defaultACL:
		return at(func(path string) result { return c.setACL(path, name) })
	case !rootfs.IsRecordName(name, unix.S_IFLNK):
		return proceed()
	}
	return at(func(path string) result {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && rootfs.IsRecordName(name, st.Mode) {
			return result{errno: unix.ENOTSUP}
		}
		return proceed()
	})
}

// setACL sets an access list and keeps the permissions of the record in step, like chmod. A list of ids that exist here in records only is
// refused as by a file system without lists: programs go on then.
func (c *call) setACL(path, name string) result {
	value, r := c.attributeValue()
	if r != nil {
		return *r
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return proceed()
	}
	f, err := c.opened(fd)
	if err != nil {
		return proceed()
	}
	defer f.close()
	switch who := c.who(); {
	case who.uid.fs != 0 && int(who.uid.fs) != f.meant.UID:
		return result{errno: unix.EPERM}
	case !f.recorded && !namesIDs(value) || !c.valid():
		return proceed()
	}
	err = unix.Setxattr(own(fd), name, value, 0)
	switch {
	case errors.Is(err, unix.EINVAL) && namesIDs(value):
		return result{errno: unix.ENOTSUP}
	case err != nil:
		return failed(err)
	case !f.recorded:
		return done(0)
	}
	if err := unix.Fstat(fd, &f.st); err != nil {
		return failed(err)
	}
	f.meant.Mode = f.st.Mode & 0o7777
	if err := c.s.save(f, f.meant); err != nil {
		return failed(err)
	}
	return done(0)
}

// attributeValue reads the value that a call sets. A result: it sets none, or none that the kernel takes.
func (c *call) attributeValue() ([]byte, *result) {
	p, fault := proceed(), failed(unix.EFAULT)
	addr, size := c.n.args[2], c.n.args[3]
	switch c.n.nr {
	case unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR:
	case unix.SYS_SETXATTRAT:
		var raw [16]byte // struct xattr_args: value, size, flags
		if err := c.readFull(c.n.args[4], raw[:]); err != nil {
			return nil, &fault
		}
		addr, size = binary.NativeEndian.Uint64(raw[:]), uint64(binary.NativeEndian.Uint32(raw[8:]))
	default:
		return nil, &p // to remove a list leaves the permissions
	}
	if size > 65536 {
		return nil, &p
	}
	value := make([]byte, size)
	if err := c.readFull(addr, value); err != nil {
		return nil, &fault
	}
	return value, nil
}

// namesIDs tells whether an access list has entries for users or groups: behind a header of four bytes, each has a tag, permissions and an id.
func namesIDs(list []byte) bool {
	const user, group = 0x02, 0x08
	for at := 4; at+8 <= len(list); at += 8 {
		if tag := binary.LittleEndian.Uint16(list[at:]); tag == user || tag == group {
			return true
		}
	}
	return false
}

func (c *call) minePath(dirfd, arg int, nofollow, empty bool, nameArg int) result {
	return c.mine(nameArg, func(f func(path string) result) result { return c.attributed(dirfd, arg, nofollow, empty, f) })
}

func setxattr(c *call) result  { return c.minePath(unix.AT_FDCWD, 0, false, false, 1) }
func lsetxattr(c *call) result { return c.minePath(unix.AT_FDCWD, 0, true, false, 1) }
func fsetxattr(c *call) result {
	return c.mine(1, func(f func(path string) result) result { return c.attributedBy(c.arg(0), f) })
}

func setxattrat(c *call) result {
	flags := c.arg(2)
	return c.minePath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0, 3)
}

// attributeCalls are the calls of this file: setting and removing look alike.
func attributeCalls(nr int32) func(*call) result {
	switch nr {
	case unix.SYS_LISTXATTR:
		return listxattr
	case unix.SYS_LLISTXATTR:
		return llistxattr
	case unix.SYS_FLISTXATTR:
		return flistxattr
	case unix.SYS_LISTXATTRAT:
		return listxattrat
	case unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR:
		return setxattr
	case unix.SYS_LSETXATTR, unix.SYS_LREMOVEXATTR:
		return lsetxattr
	case unix.SYS_FSETXATTR, unix.SYS_FREMOVEXATTR:
		return fsetxattr
	case unix.SYS_SETXATTRAT, unix.SYS_REMOVEXATTRAT:
		return setxattrat
	}
	return nil
}

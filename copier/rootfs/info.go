package rootfs

import (
	"fmt"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/idmap"
)

// Info describes a file. Where owners are recorded rather than set, Mode, UID, GID and Rdev are the recorded ones.
type Info struct {
	Name                  string
	Mode                  uint32 // st_mode: type and permission bits
	UID, GID              int
	Size                  int64
	Rdev, Dev, Ino, Nlink uint64
	Mtime, Ctime          time.Time
}

// IsDir, IsRegular, IsSymlink and IsDevice tell the type.
func (i Info) IsDir() bool { return i.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsRegular tells whether it is a regular file.
func (i Info) IsRegular() bool { return i.Mode&unix.S_IFMT == unix.S_IFREG }

// IsSymlink tells whether it is a symbolic link.
func (i Info) IsSymlink() bool { return i.Mode&unix.S_IFMT == unix.S_IFLNK }

// IsDevice tells whether it is a character or block device.
func (i Info) IsDevice() bool {
	t := i.Mode & unix.S_IFMT
	return t == unix.S_IFCHR || t == unix.S_IFBLK
}

// Perm is the permission bits with setuid, setgid and sticky.
func (i Info) Perm() uint32 { return i.Mode & 0o7777 }

// infoAt describes name below the directory fd, or fd itself when name is empty.
func infoAt(fd int, name, base string, own Ownership, ids *idmap.IDs) (Info, error) {
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Fstatat(fd, name, &st, flags); err != nil {
		return Info{}, err
	}
	uid, gid := ids.Inside(st.Uid, st.Gid)
	i := Info{
		Name: base, Mode: st.Mode, UID: int(uid), GID: int(gid), Size: st.Size,
		Rdev: st.Rdev, Dev: st.Dev, Ino: st.Ino, Nlink: uint64(st.Nlink),
		Mtime: time.Unix(st.Mtim.Unix()), Ctime: time.Unix(st.Ctim.Unix()),
	}
	if own == Record {
		i.UID, i.GID = 0, 0 // whoever it is on disk, it is this process that made it
		i.applyRecord(fd, name)
	}
	return i, nil
}

// applyRecord shows the recorded owner, permissions, and the type of a device that could not be made.
func (i *Info) applyRecord(fd int, name string) {
	p := place{fdPath(fd), true}
	if name != "" {
		p = place{p.path + "/" + name, false}
	}
	o, ok := p.read(i.Mode)
	if !ok {
		return
	}
	i.UID, i.GID = o.UID, o.GID
	if carries(i.Mode) {
		i.Mode = i.Mode&unix.S_IFMT | o.Mode
	}
	if o.Device != 0 && i.IsRegular() {
		i.Mode, i.Rdev, i.Size = o.Mode|o.Device, o.Rdev, 0
	}
}

// fdPath is a path to an open descriptor that follows no link but the kernel's own.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func pathError(dir, op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &PathError{Op: op, Path: path.Join(dir, name), Err: err}
}

// PathError names the operation and the path as seen inside the root.
type PathError struct {
	Op, Path string
	Err      error
}

func (e *PathError) Error() string { return fmt.Sprintf("%s %q: %v", e.Op, Short(e.Path), e.Err) }

// Short is a path for a message: of one that is too long to be read, its two ends.
func Short(name string) string {
	const most, end = 600, 100
	if len(name) <= most {
		return name
	}
	return name[:end] + "…" + name[len(name)-end:]
}

// Unwrap gives the system's error.
func (e *PathError) Unwrap() error { return e.Err }

package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/idmap"
)

// A Dir is an open directory. Its methods take the name of an entry in it, never a path, and never follow
// a link of that name. It is for one goroutine at a time.
type Dir struct {
	fd   int
	name string // path inside the root, for messages
	own  Ownership
	ids  *idmap.IDs
}

// Close closes the directory.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Name is the path inside the root that the directory was opened by.
func (d *Dir) Name() string { return d.name }

// Fd is the descriptor; it stays the directory's.
func (d *Dir) Fd() int { return d.fd }

// entry refuses names that are paths or that step out of the directory.
func (d *Dir) entry(op, name string) error {
	if name == "" || name == ".." || strings.ContainsAny(name, "/\x00") {
		return pathError(d.name, op, name, unix.EINVAL)
	}
	return nil
}

func (d *Dir) do(op, name string, f func() error) error {
	if err := d.entry(op, name); err != nil {
		return err
	}
	for {
		err := f()
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return pathError(d.name, op, name, err)
	}
}

// Lstat describes an entry; "." is the directory itself.
func (d *Dir) Lstat(name string) (i Info, err error) {
	err = d.do("stat", name, func() (err error) { i, err = infoAt(d.fd, name, name, d.own, d.ids); return err })
	return i, err
}

// ReadDir lists the names in the directory in byte order.
func (d *Dir) ReadDir() ([]string, error) {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError(d.name, "readdir", "", err)
	}
	f := os.NewFile(uintptr(fd), d.name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// An Entry is a name in a directory. Type is its S_IFMT bits where the directory tells them, else 0.
type Entry struct {
	Name string
	Type uint32
}

// Entries lists the directory in byte order. It is no look at the entries themselves: types may be unknown, and
// are where owners are recorded, since a record can make a device of a file.
func (d *Dir) Entries() ([]Entry, error) {
	fd, err := unix.Openat(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError(d.name, "readdir", "", err)
	}
	f := os.NewFile(uintptr(fd), d.name)
	defer f.Close()
	var list []Entry
	for {
		found, err := f.ReadDir(512)
		for _, e := range found {
			list = append(list, Entry{e.Name(), d.typeBits(e.Type())})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, pathError(d.name, "readdir", "", err)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (d *Dir) typeBits(m fs.FileMode) uint32 {
	switch {
	case d.own == Record:
		return 0
	case m.IsRegular():
		return unix.S_IFREG
	case m.IsDir():
		return unix.S_IFDIR
	}
	return 0
}

// OpenFile opens an entry for reading. It fails for links and does not block on FIFOs.
func (d *Dir) OpenFile(name string) (*os.File, error) {
	return d.openFile("open", name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// Create makes a new regular file for writing; the entry must not exist.
func (d *Dir) Create(name string, perm uint32) (*os.File, error) {
	return d.openFile("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, perm)
}

func (d *Dir) openFile(op, name string, flags int, perm uint32) (*os.File, error) {
	fd := -1
	err := d.do(op, name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(d.name, name)), nil
}

// Dir opens a directory in this one.
func (d *Dir) Dir(name string) (*Dir, error) {
	fd := -1
	err := d.do("open", name, func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd, name: path.Join(d.name, name), own: d.own, ids: d.ids}, nil
}

// Mkdir makes a directory with exactly perm, whatever the umask.
func (d *Dir) Mkdir(name string, perm uint32) error {
	err := d.do("mkdir", name, func() error { return unix.Mkdirat(d.fd, name, perm&0o777) })
	if err != nil || perm == 0o700 { // which no umask in use changes
		return err
	}
	return d.Chmod(name, perm)
}

// Symlink makes a link to target.
func (d *Dir) Symlink(target, name string) error {
	return d.do("symlink", name, func() error { return unix.Symlinkat(target, d.fd, name) })
}

// Readlink reads a link.
func (d *Dir) Readlink(name string) (target string, err error) {
	err = d.do("readlink", name, func() (err error) { target, err = readlinkat(d.fd, name); return err })
	return target, err
}

// Link makes name a hard link to an entry of another directory, which is not followed if it is a link.
func (d *Dir) Link(from *Dir, old, name string) error {
	if err := from.entry("link", old); err != nil {
		return err
	}
	return d.do("link", name, func() error {
		return d.carry(from, old, name, func() error { return unix.Linkat(from.fd, old, d.fd, name, 0) })
	})
}

// carry does f, which gives the entry old a new name, and takes a record along that its old directory holds.
func (d *Dir) carry(from *Dir, old, name string, f func() error) error {
	var buf [128]byte
	n := -1
	if d.own == Record && outside() {
		dir, key := place{from.path(old), false}.aside()
		n, _ = unix.Getxattr(dir, key, buf[:])
	}
	err := f()
	if err == nil && n > 0 {
		dir, key := place{d.path(name), false}.aside()
		err = unix.Setxattr(dir, key, buf[:n], 0)
	}
	return err
}

// drop takes the record of an entry that is gone out of its directory.
func (d *Dir) drop(name string) {
	if d.own == Record && outside() {
		dir, key := place{d.path(name), false}.aside()
		_ = unix.Removexattr(dir, key)
	}
}

// Rename moves an entry of another directory here, replacing what is there.
func (d *Dir) Rename(from *Dir, old, name string) error {
	if err := from.entry("rename", old); err != nil {
		return err
	}
	return d.do("rename", name, func() error {
		err := d.carry(from, old, name, func() error { return unix.Renameat(from.fd, old, d.fd, name) })
		if err == nil {
			from.drop(old)
		}
		return err
	})
}

// Mknod makes a FIFO, socket or device. A device that this process may not make is an empty file with a record where the root's
// [Ownership] is Record, else an error.
func (d *Dir) Mknod(name string, mode uint32, rdev uint64) error {
	err := d.do("mknod", name, func() error { return unix.Mknodat(d.fd, name, mode, int(rdev)) })
	if !errors.Is(err, unix.EPERM) || d.own != Record {
		return err
	}
	f, err := d.Create(name, mode&0o777)
	if err != nil {
		return err
	}
	f.Close()
	return d.save(name, Override{Mode: mode & 0o7777, Device: mode & unix.S_IFMT, Rdev: rdev})
}

// Chown changes the owner of an entry itself; -1 leaves one of the two. It clears setuid bits: chmod after it.
func (d *Dir) Chown(name string, uid, gid int) error {
	err := d.do("chown", name, func() error {
		u, g, err := d.ids.Outside(d.own.onDisk(uid, gid))
		if err != nil {
			return err
		}
		return unix.Fchownat(d.fd, name, u, g, unix.AT_SYMLINK_NOFOLLOW)
	})
	if d.own != Record {
		if d.own == Ignore && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)) {
			return nil
		}
		return err
	}
	if err == nil {
		return d.forget(name)
	}
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	i, err := d.Lstat(name)
	if err != nil {
		return err
	}
	o := Override{UID: uid, GID: gid, Mode: i.Perm()}
	if uid < 0 {
		o.UID = i.UID
	}
	if gid < 0 {
		o.GID = i.GID
	}
	if i.IsDevice() {
		o.Device, o.Rdev = i.Mode&unix.S_IFMT, i.Rdev
	}
	return d.save(name, o)
}

// onDisk returns the ids to set for those of the image: where there is no user namespace root is oneself.
func (o Ownership) onDisk(uid, gid int) (u, g int) {
	if o == Record && outside() {
		return swap(uid, unix.Geteuid()), swap(gid, unix.Getegid())
	}
	return uid, gid
}

// swap exchanges root and oneself; anybody else stays.
func swap(id, own int) int {
	switch id {
	case 0:
		return own
	case own:
		return 0
	}
	return id
}

// save writes the record of an entry.
func (d *Dir) save(name string, o Override) error {
	i, err := infoAt(d.fd, name, name, Apply, nil)
	if err != nil {
		return err
	}
	return pathError(d.name, "recording the owner of", name, place{d.path(name), false}.write(i.Mode, o))
}

// forget takes the owner out of the record of an entry: what is real needs none. It stays a device's, and that of other permissions.
func (d *Dir) forget(name string) error {
	i, err := infoAt(d.fd, name, name, Apply, nil)
	if err != nil {
		return err
	}
	p := place{d.path(name), false}
	o, ok := p.read(i.Mode)
	switch {
	case !ok:
		return nil
	case o.Device == 0 && (!carries(i.Mode) || o.Mode == i.Perm()):
		p.remove(i.Mode)
		return nil
	}
	o.UID, o.GID = 0, 0
	return p.write(i.Mode, o)
}

// Chmod sets the permission bits of anything but a link, whose bits mean nothing, and those in its record.
func (d *Dir) Chmod(name string, perm uint32) error {
	return d.do("chmod", name, func() error {
		fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return err
		}
		if d.own != Record || !carries(st.Mode) {
			return unix.Chmod(fdPath(fd), perm&0o7777)
		}
		if err := unix.Chmod(fdPath(fd), readable(st.Mode, perm&0o7777)); err != nil {
			return err
		}
		return recordMode(fd, st.Mode, perm&0o7777)
	})
}

// recordMode keeps the permissions in an open file's record in step, and makes one when those on disk are not the ones meant.
func recordMode(fd int, mode, perm uint32) error {
	o, ok := ReadOverride(fd, mode)
	if ok && o.Mode == perm || !ok && readable(mode, perm) == perm {
		return nil
	}
	o.Mode = perm
	return WriteOverride(fd, mode, o)
}

// Utimes sets access and modification time of an entry itself.
func (d *Dir) Utimes(name string, mtime time.Time) error {
	return d.do("utimes", name, func() error {
		return unix.UtimesNanoAt(d.fd, name, timespecs(mtime), unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (d *Dir) path(name string) string { return fdPath(d.fd) + "/" + name }

// Xattrs reads the extended attributes of an entry itself, without ownership records. A file system without any has none.
func (d *Dir) Xattrs(name string) (map[string][]byte, error) {
	if err := d.entry("listxattr", name); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(d.path(name), buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 65536)
		n, err = unix.Llistxattr(d.path(name), buf)
	}
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, pathError(d.name, "listxattr", name, err)
	}
	attrs := map[string][]byte{}
	for _, key := range strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if key == overrideXattr {
			continue
		}
		if v, err := d.getXattr(name, key); err == nil && !IsOverride(key, v) {
			if shown, ok := ShadowOf(key); ok && d.own == Record {
				key = shown
			}
			if key == capXattr {
				v = d.ids.CapabilityInside(v)
			}
			attrs[key] = v
		}
	}
	return attrs, nil
}

func (d *Dir) getXattr(name, key string) ([]byte, error) {
	return readXattr(func(buf []byte) (int, error) { return unix.Lgetxattr(d.path(name), key, buf) })
}

// SetXattr sets an extended attribute of an entry itself.
func (d *Dir) SetXattr(name, key string, value []byte) error {
	if err := d.entry("setxattr", name); err != nil {
		return err
	}
	return d.setXattr(name, key, value)
}

func (d *Dir) setXattr(name, key string, value []byte) error {
	if key == capXattr {
		value = d.ids.CapabilityOutside(value)
	}
	err := unix.Lsetxattr(d.path(name), key, value, 0)
	if errors.Is(err, unix.EPERM) && key == capXattr && d.own == Record && outside() {
		err = unix.Lsetxattr(d.path(name), shadowXattr, value, 0)
	}
	return pathError(d.name, "setxattr "+key, name, err)
}

// Unlink removes an entry that is not a directory.
func (d *Dir) Unlink(name string) error {
	return d.do("unlink", name, func() error {
		err := unix.Unlinkat(d.fd, name, 0)
		if err == nil {
			d.drop(name)
		}
		return err
	})
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(name string) error {
	return d.do("rmdir", name, func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

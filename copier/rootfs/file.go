package rootfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/idmap"
)

// A File is an open regular file: one descriptor and system calls on it, nothing of the Go runtime's poller,
// since many small files are what copying and unpacking are made of. It is for one goroutine at a time.
type File struct {
	fd        int
	dir, base string // path inside the root, for messages
	own       Ownership
	ids       *idmap.IDs
}

// Regular opens a regular file of the directory for reading. Anything else of that name is an error, a link too, and a
// FIFO or device does not block it.
func (d *Dir) Regular(name string) (*File, Info, error) {
	f, err := d.file("open", name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, Info{}, err
	}
	i, err := f.Info()
	if err == nil && !i.IsRegular() {
		err = &PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	if err != nil {
		f.Close()
		return nil, Info{}, err
	}
	return f, i, nil
}

// NewRegular makes a new regular file in the directory for writing; the entry must not exist.
func (d *Dir) NewRegular(name string, perm uint32) (*File, error) {
	return d.file("create", name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, perm)
}

func (d *Dir) file(op, name string, flags int, perm uint32) (*File, error) {
	f := &File{fd: -1, dir: d.name, base: name, own: d.own, ids: d.ids}
	err := d.do(op, name, func() (err error) {
		f.fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, perm)
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Close closes the file.
func (f *File) Close() error { return f.wrap("close", unix.Close(f.fd)) }

// Fd is the descriptor; it stays the file's.
func (f *File) Fd() int { return f.fd }

// Name is the path inside the root that the file was opened by.
func (f *File) Name() string { return path.Join(f.dir, f.base) }

func (f *File) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &PathError{Op: op, Path: f.Name(), Err: err}
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, f.wrap("read", err)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(f.fd, p[done:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return done, f.wrap("write", err)
		}
		done += n
	}
	return done, nil
}

// WriteSparse writes what r gives at the beginning of an empty file, by way of buf, and returns how much that was. Where a whole
// buffer is zeros it leaves a hole: a few bytes of an archive may stand for a very long file.
func (f *File) WriteSparse(r io.Reader, buf []byte) (n int64, err error) {
	for {
		k, rerr := fill(r, buf)
		n += int64(k)
		if k == len(buf) && AllZero(buf) {
			_, err = f.Seek(int64(k), io.SeekCurrent)
		} else if k > 0 {
			_, err = f.Write(buf[:k])
		}
		switch {
		case err != nil:
			return n, err
		case errors.Is(rerr, io.EOF):
			return n, f.Truncate(n)
		case rerr != nil:
			return n, rerr
		}
	}
}

// fill is io.ReadFull but for a short end, which is io.EOF: io.ErrUnexpectedEOF is what readers say of a stream that was cut off.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var k int
		k, err = r.Read(buf[n:])
		n += k
	}
	return n, err
}

// AllZero tells whether there is nothing but zeros in b, which is not empty.
func AllZero(b []byte) bool {
	return b[0] == 0 && b[len(b)-1] == 0 && bytes.Count(b, []byte{0}) == len(b)
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	n, err := unix.Seek(f.fd, offset, whence)
	return n, f.wrap("seek", err)
}

// Truncate sets the size in bytes.
func (f *File) Truncate(size int64) error {
	return f.wrap("truncate", unix.Ftruncate(f.fd, size))
}

// Info describes the open file.
func (f *File) Info() (Info, error) {
	i, err := infoAt(f.fd, "", f.base, f.own, f.ids)
	return i, f.wrap("stat", err)
}

// Chown changes the owner of a file that NewRegular has made; -1 leaves one of the two. It clears setuid bits: Chmod after it.
func (f *File) Chown(uid, gid int) error {
	u, g, err := f.ids.Outside(f.own.onDisk(uid, gid))
	if err != nil {
		return f.wrap("chown", err)
	}
	err = unix.Fchown(f.fd, u, g)
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)
	if !denied || f.own == Apply || f.own == Fail {
		return f.wrap("chown", err)
	}
	if f.own == Ignore {
		return nil
	}
	i, err := f.Info()
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
	return f.wrap("recording the owner of", WriteOverride(f.fd, i.Mode, o))
}

// Chmod sets the permission bits, and those in the record if there is one.
func (f *File) Chmod(perm uint32) error {
	perm &= 0o7777
	if f.own != Record {
		return f.wrap("chmod", unix.Fchmod(f.fd, perm))
	}
	if err := unix.Fchmod(f.fd, readable(unix.S_IFREG, perm)); err != nil {
		return f.wrap("chmod", err)
	}
	return f.wrap("recording the mode of", recordMode(f.fd, unix.S_IFREG, perm))
}

// Utimes sets access and modification time.
func (f *File) Utimes(mtime time.Time) error {
	return f.wrap("utimes", unix.UtimesNanoAt(f.fd, "", timespecs(mtime), unix.AT_EMPTY_PATH))
}

// Xattrs reads the extended attributes, without ownership records. A file system without any has none.
func (f *File) Xattrs() (map[string][]byte, error) {
	var few [256]byte
	buf := few[:]
	n, err := unix.Flistxattr(f.fd, buf)
	if errors.Is(err, unix.ERANGE) {
		buf = make([]byte, 65536)
		n, err = unix.Flistxattr(f.fd, buf)
	}
	if errors.Is(err, unix.ENOTSUP) || (err == nil && n == 0) {
		return nil, nil
	}
	if err != nil {
		return nil, f.wrap("listxattr", err)
	}
	attrs := map[string][]byte{}
	for _, key := range strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if key == overrideXattr {
			continue
		}
		if v, err := readXattr(func(b []byte) (int, error) { return unix.Fgetxattr(f.fd, key, b) }); err == nil && !IsOverride(key, v) {
			if shown, ok := ShadowOf(key); ok && f.own == Record {
				key = shown
			}
			if key == capXattr {
				v = f.ids.CapabilityInside(v)
			}
			attrs[key] = v
		}
	}
	return attrs, nil
}

// SetXattr sets an extended attribute.
func (f *File) SetXattr(key string, value []byte) error {
	if key == capXattr {
		value = f.ids.CapabilityOutside(value)
	}
	err := unix.Fsetxattr(f.fd, key, value, 0)
	if errors.Is(err, unix.EPERM) && key == capXattr && f.own == Record && outside() {
		err = unix.Fsetxattr(f.fd, shadowXattr, value, 0)
	}
	return f.wrap(fmt.Sprintf("setxattr %s of", key), err)
}

// readXattr calls get with larger and larger buffers.
func readXattr(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := get(buf)
		if errors.Is(err, unix.ERANGE) && len(buf) <= 65536 {
			buf = make([]byte, 2*len(buf))
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// Attributes is what something has beside its content: a [File], or an entry of a directory by its name ([Dir.At]).
type Attributes interface {
	// Chown changes the owner; -1 leaves one of the two. It clears set-id bits and file capabilities: they come after it.
	Chown(uid, gid int) error
	// Chmod sets the permission bits of anything but a link.
	Chmod(perm uint32) error
	// SetXattr sets an extended attribute.
	SetXattr(key string, value []byte) error
	// Utimes sets access and modification time.
	Utimes(mtime time.Time) error
}

// At is the entry called name, "." for the directory itself; a link of that name is not followed.
func (d *Dir) At(name string) Attributes { return entry{d, name} }

type entry struct {
	d    *Dir
	name string
}

func (e entry) Chown(uid, gid int) error                { return e.d.Chown(e.name, uid, gid) }
func (e entry) Chmod(perm uint32) error                 { return e.d.Chmod(e.name, perm) }
func (e entry) SetXattr(key string, value []byte) error { return e.d.SetXattr(e.name, key, value) }
func (e entry) Utimes(mtime time.Time) error            { return e.d.Utimes(e.name, mtime) }

// timespecs are the access and modification time for the kernel, which knows more years than nanoseconds in 64 bits do.
func timespecs(t time.Time) []unix.Timespec {
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	return []unix.Timespec{ts, ts}
}

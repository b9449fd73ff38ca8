// Package untar unpacks tar streams into a directory: layers on their way into storage, and archives
// that ADD extracts. Names in the stream are hostile: every one is resolved inside the root, whatever links the
// stream itself made before. It does not decompress, and knows nothing of images.
//
// It imports the standard library, x/sys and package rootfs only, as a re-executed child uses it.
package untar

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Whiteouts says what entries named ".wh.*" mean (OCI image spec, layer.md).
type Whiteouts int

// The meanings.
const (
	// Refuse makes them an error: in an archive to be added they cannot be told from whiteouts of the layer that results.
	Refuse Whiteouts = iota
	// Overlay turns them into overlayfs's own form: a 0:0 character device, and an attribute on opaque directories.
	Overlay
	// Delete removes what they name, for drivers whose layers are whole trees.
	Delete
)

// Options controls unpacking. The zero value keeps what the stream says and refuses whiteouts.
type Options struct {
	Whiteouts Whiteouts
	// UserXattr marks opaque directories with user.overlay.* instead of trusted.overlay.*: for mounts in a user namespace.
	UserXattr bool
	// UID and GID, if set, replace the owners in the stream.
	UID, GID *int
	// Map translates owners of the stream to owners on disk; nil leaves them.
	Map func(uid, gid int) (int, int, error)
	// IgnoreChown goes on when an owner cannot be set.
	IgnoreChown bool
	// SkipDevice, if set, is told the names of devices that may not be made, and are left out, as every tool does in a user namespace.
	SkipDevice func(name string)
	// Records says that the stream is storage's copy of a directory of its own, in which owners are recorded: the
	// owners in it are those on disk, which mean nothing, and its records are kept as they are.
	Records bool
	// Mtime, if set, replaces all times.
	Mtime *time.Time
	// MaxName, if set, is the longest name that whoever uses the directory can reach, in bytes, with the slash before it: longer ones are refused.
	MaxName int
	// Each, if set, is told every entry before it is unpacked.
	Each func(*tar.Header)
}

const (
	// maxMeta bounds what is kept in memory until the end: names and times of directories, about so many bytes.
	maxMeta = 256 << 20
	// dirCost is what a directory takes beside its name.
	dirCost = 64
	// maxSparse bounds the files of an archive that are mostly holes, in bytes: a header is enough to claim exabytes.
	maxSparse = 1 << 40
)

type unpacking struct {
	ctx  context.Context //nolint:containedctx // lives as long as one call
	root *rootfs.Root
	o    Options
	size int64
	dirs []dirTime
	meta int
	// sparse is how long the sparse files are together.
	sparse int64
	buf    []byte
	// made are the entries of this stream, which its own opaque markers do not hide, by digests: names may be long. With Delete only.
	made map[[sha256.Size]byte]bool
}

type dirTime struct {
	name  string
	mtime time.Time
}

// Untar unpacks r below root and returns the sum of the file sizes. Directories get their times last. What was unpacked before
// an error stays, but for the file at hand.
func Untar(ctx context.Context, r io.Reader, root *rootfs.Root, o Options) (int64, error) {
	u := &unpacking{ctx: ctx, root: root, o: o, buf: make([]byte, 64<<10), made: map[[sha256.Size]byte]bool{}}
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return u.size, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return u.size, fmt.Errorf("reading archive: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return u.size, fmt.Errorf("unpacking %q: %w", rootfs.Short(h.Name), err)
		}
	}
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.dirTime(u.dirs[i]); err != nil {
			return u.size, err
		}
	}
	return u.size, nil
}

func (u *unpacking) dirTime(dt dirTime) error {
	d, err := u.root.Dir(dt.name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // replaced later in the stream
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Utimes(".", dt.mtime)
}

// entry unpacks one entry.
func (u *unpacking) entry(h *tar.Header, body io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if u.o.Each != nil {
		u.o.Each(h)
	}
	name := path.Clean("/" + h.Name)
	switch {
	case u.o.Whiteouts == Refuse && strings.Contains(name, "/.wh."):
		return errors.New("the name cannot be told from a whiteout of a layer")
	case u.o.MaxName > 0 && len(name) > u.o.MaxName:
		return fmt.Errorf("the path has %d bytes, and this storage reaches %d: %w", len(name), u.o.MaxName, unix.ENAMETOOLONG)
	}
	dir, base := path.Split(name)
	if strings.HasPrefix(base, ".wh.") {
		return u.whiteout(dir, base)
	}
	if name == "/" {
		if h.Typeflag != tar.TypeDir {
			return errors.New("the root can only be a directory")
		}
		return u.rootEntry(h)
	}
	parent, err := u.root.MkdirAll(dir, 0o755, -1, -1)
	if err != nil {
		return err
	}
	defer parent.Close()
	done, hid, err := u.clear(parent, base, h)
	if done || err != nil {
		return err
	}
	if err := u.create(parent, base, h, body); err != nil {
		if u.o.SkipDevice != nil && errors.Is(err, unix.EPERM) && (h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock) {
			u.o.SkipDevice(name)
			return nil
		}
		return err
	}
	if hid && h.Typeflag == tar.TypeDir {
		if err := u.hide(parent, base); err != nil {
			return err
		}
	}
	if u.o.Whiteouts == Delete {
		u.made[sha256.Sum256([]byte(name))] = true
	}
	if h.Typeflag == tar.TypeLink || isFile(h) {
		return nil // it has the file's attributes, or has got them
	}
	return u.attributes(parent.At(base), name, h)
}

func isFile(h *tar.Header) bool {
	return h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeGNUSparse || h.Typeflag == tar.TypeCont
}

func (u *unpacking) rootEntry(h *tar.Header) error {
	d, err := u.root.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	return u.attributes(d.At("."), "/", h)
}

// clear removes what is in the way: anything but a directory for a directory. It tells whether that was a whiteout of this stream, or
// whether nothing is left to do: a hard link to what has this name, as tar writes it when it is given a file twice, must not remove the
// only name there is.
func (u *unpacking) clear(parent *rootfs.Dir, base string, h *tar.Header) (done, hid bool, err error) {
	i, err := parent.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, false, nil
	case err != nil:
		return false, false, err
	case i.IsDir() && h.Typeflag == tar.TypeDir:
		return false, false, nil
	case h.Typeflag == tar.TypeLink:
		to, err := u.root.Lstat(path.Clean("/" + h.Linkname))
		if err != nil || to.Dev == i.Dev && to.Ino == i.Ino {
			return true, false, err
		}
	}
	hid = u.o.Whiteouts == Overlay && i.Mode&unix.S_IFMT == unix.S_IFCHR && i.Rdev == 0
	return false, hid, parent.RemoveAll(base)
}

// hide keeps what layers below have in a directory out of it: the stream had a whiteout of that name before.
func (u *unpacking) hide(parent *rootfs.Dir, base string) error {
	d, err := parent.Dir(base)
	if err != nil {
		return err
	}
	defer d.Close()
	return u.opaque(d, "")
}

func (u *unpacking) create(parent *rootfs.Dir, base string, h *tar.Header, body io.Reader) error {
	if isFile(h) {
		return u.file(parent, base, h, body)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := parent.Mkdir(base, 0o700); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeSymlink:
		return parent.Symlink(h.Linkname, base)
	case tar.TypeLink:
		return u.link(parent, base, h.Linkname)
	case tar.TypeFifo:
		return parent.Mknod(base, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar, tar.TypeBlock:
		mode := uint32(unix.S_IFCHR)
		if h.Typeflag == tar.TypeBlock {
			mode = unix.S_IFBLK
		}
		return parent.Mknod(base, mode|0o600, unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)))
	}
	return fmt.Errorf("unsupported entry type %q", h.Typeflag)
}

// file writes a file and its attributes through one descriptor: whatever takes its name in the meantime gets neither.
func (u *unpacking) file(parent *rootfs.Dir, base string, h *tar.Header, body io.Reader) (err error) {
	if isSparse(h) {
		if u.sparse += h.Size; u.sparse > maxSparse || u.sparse < 0 {
			return fmt.Errorf("a sparse file of %d bytes: more than %d TiB of them are not unpacked", h.Size, maxSparse>>40)
		}
	}
	f, err := parent.NewRegular(base, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = parent.Unlink(base) // half a file is worth nothing, and fills the disk that may be full
		}
	}()
	n, err := f.WriteSparse(bodyCtx{u.ctx, body}, u.buf)
	u.size += n
	if err == nil && n != h.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return u.attributes(f, "", h)
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// bodyCtx ends a file when its context does, also where it reads nothing but a hole.
type bodyCtx struct {
	ctx context.Context //nolint:containedctx // lives as long as one call
	r   io.Reader
}

func (b bodyCtx) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.r.Read(p)
}

// link makes a hard link; its target is resolved inside the root like any name, and is never followed.
func (u *unpacking) link(parent *rootfs.Dir, base, target string) error {
	dir, old := path.Split(path.Clean("/" + target))
	from, err := u.root.Dir(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	return parent.Link(from, old, base)
}

// attributes sets owner, mode, extended attributes and time, in the order in which one does not undo the other.
func (u *unpacking) attributes(at rootfs.Attributes, name string, h *tar.Header) error {
	uid, gid, err := u.owner(h)
	if err != nil {
		return err
	}
	if !u.o.Records { // else everything belongs to this process, and records are in the stream
		if err := at.Chown(uid, gid); err != nil && !u.o.IgnoreChown {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := at.Chmod(uint32(h.Mode) & 0o7777); err != nil {
			return err
		}
	}
	for key, value := range h.PAXRecords {
		if record, ok := strings.CutPrefix(key, xattrRecord); ok && u.o.Records {
			if err := at.SetXattr(record, []byte(value)); err != nil {
				return err
			}
			continue
		}
		if h.Typeflag != tar.TypeReg && key == xattrRecord+"security.capability" {
			continue // means nothing there, and could pass for an ownership record
		}
		if err := setXattr(at, key, value); err != nil {
			return err
		}
	}
	mtime := h.ModTime
	if u.o.Mtime != nil {
		mtime = *u.o.Mtime
	}
	if h.Typeflag == tar.TypeDir {
		if u.meta += len(name) + dirCost; u.meta > maxMeta {
			return errors.New("too many directories")
		}
		u.dirs = append(u.dirs, dirTime{name, mtime})
		return nil
	}
	return at.Utimes(mtime)
}

func (u *unpacking) owner(h *tar.Header) (uid, gid int, err error) {
	uid, gid = h.Uid, h.Gid
	if u.o.UID != nil {
		uid = *u.o.UID
	}
	if u.o.GID != nil {
		gid = *u.o.GID
	}
	switch {
	case isID(uid) && isID(gid):
	case u.o.IgnoreChown:
		return -1, -1, nil
	default:
		return 0, 0, fmt.Errorf("its owner %d:%d is out of range", uid, gid)
	}
	if u.o.Map != nil {
		return u.o.Map(uid, gid)
	}
	return uid, gid, nil
}

// isID tells whether the kernel takes a number for what it is: it cuts larger ones off, to root's for one, and takes the last for no
// change of owner.
func isID(n int) bool { return n >= 0 && n < math.MaxUint32 }

const xattrRecord = "SCHILY.xattr."

// setXattr sets an attribute from a PAX record. Those that steer overlayfs or storage are dropped: a layer has no business there.
func setXattr(at rootfs.Attributes, record, value string) error {
	key, ok := strings.CutPrefix(record, xattrRecord)
	if !ok || strings.HasPrefix(key, "trusted.overlay.") || strings.HasPrefix(key, "user.overlay.") || strings.HasPrefix(key, "user.containers.") || strings.HasPrefix(key, "user.slipway.") {
		return nil
	}
	err := at.SetXattr(key, []byte(value))
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil // best effort, as every tool of the field does
	}
	return err
}

const opaque = ".wh..wh..opq"

func (u *unpacking) whiteout(dir, base string) error {
	if strings.HasPrefix(base, ".wh..wh.") && base != opaque {
		return nil // AUFS's own bookkeeping
	}
	parent, err := u.root.MkdirAll(dir, 0o755, -1, -1)
	if err != nil {
		return err
	}
	defer parent.Close()
	if base == opaque {
		return u.opaque(parent, dir)
	}
	gone := strings.TrimPrefix(base, ".wh.")
	if gone == "" || gone == "." || gone == ".." {
		return errors.New("whiteout of nothing")
	}
	if err := parent.RemoveAll(gone); err != nil || u.o.Whiteouts == Delete {
		return err
	}
	return parent.Mknod(gone, unix.S_IFCHR, 0)
}

func (u *unpacking) opaque(parent *rootfs.Dir, dir string) error {
	if u.o.Whiteouts == Overlay {
		key := "trusted.overlay.opaque"
		if u.o.UserXattr {
			key = "user.overlay.opaque"
		}
		return parent.SetXattr(".", key, []byte("y"))
	}
	names, err := parent.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		if u.made[sha256.Sum256([]byte(path.Join(dir, n)))] {
			continue
		}
		if err := parent.RemoveAll(n); err != nil {
			return err
		}
	}
	return nil
}

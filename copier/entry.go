package copier

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// inode identifies a file of the source; linked is where it was copied to first.
type (
	inode  struct{ dev, ino uint64 }
	linked struct{ dir, base, rel string }
)

// errGone says that an entry went away since its directory was read.
var errGone = errors.New("gone")

// mkdir makes or takes over a directory with its source's mode and owner.
func (c *copying) mkdir(parent *rootfs.Dir, name string, info rootfs.Info, attrs map[string][]byte) (*rootfs.Dir, error) {
	d, err := c.directory(parent, name)
	if err != nil {
		return nil, err
	}
	if err := c.attributes(d.At("."), info, attrs); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// directory opens a directory, and makes it where none is.
func (c *copying) directory(parent *rootfs.Dir, name string) (*rootfs.Dir, error) {
	err := parent.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		i, lerr := parent.Lstat(name)
		switch {
		case lerr != nil:
			return nil, lerr
		case i.IsDir():
			err = nil
		case c.o.Link:
			err = errors.Join(parent.RemoveAll(name), parent.Mkdir(name, 0o700))
		default:
			return nil, fmt.Errorf("cannot copy to non-directory: %s", path.Join(parent.Name(), name))
		}
	}
	if err != nil {
		return nil, err
	}
	return parent.Dir(name)
}

// entry copies anything that is not a directory; rel is its name in the digest.
func (c *copying) entry(from *rootfs.Dir, name string, to place, rel string) error {
	info, err := from.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return err
	}
	if err := refuseWhiteout(to.base); err != nil {
		return err
	}
	id := inode{info.Dev, info.Ino}
	if first, ok := c.links[id]; ok && info.Nlink > 1 {
		c.add(rel, info, "hard:"+first.rel, nil, nil)
		if done, err := c.hardlink(first, to); done || err != nil {
			return err
		}
		return c.node(from, name, info, to, nil)
	}
	if info.Nlink > 1 {
		l := linked{rel: rel}
		if to.dir != nil {
			l.dir, l.base = to.dir.Name(), to.base
		}
		c.links[id] = l
	}
	return c.node(from, name, info, to, &rel)
}

// hardlink makes another name of the file that was copied first from the same inode. It fails quietly where that one
// is not there any more, since a later source has replaced it.
func (c *copying) hardlink(first linked, to place) (bool, error) {
	if to.dir == nil {
		return true, nil
	}
	if first.dir == to.dir.Name() && first.base == to.base {
		return true, nil // the same name again
	}
	d, err := c.dst.Dir(first.dir)
	if err != nil {
		return false, nil //nolint:nilerr // copied again instead
	}
	defer d.Close()
	if err := c.vacate(to); err != nil {
		return false, err
	}
	return to.dir.Link(d, first.base, to.base) == nil, nil
}

// vacate removes what is in the way of a file.
func (c *copying) vacate(to place) error {
	i, err := to.dir.Lstat(to.base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case i.IsDir() && c.o.Link:
		return to.dir.RemoveAll(to.base)
	case i.IsDir():
		return fmt.Errorf("cannot replace to directory %s with file", path.Join(to.dir.Name(), to.base))
	}
	if err := to.dir.Unlink(to.base); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// node copies one file of any type but a directory, and counts it under rel unless that is nil.
func (c *copying) node(from *rootfs.Dir, name string, info rootfs.Info, to place, rel *string) error {
	var got result
	target := ""
	var err error
	if info.IsRegular() {
		var f *rootfs.File
		if f, info, err = from.Regular(name); errors.Is(err, fs.ErrNotExist) {
			return errGone
		} else if err != nil {
			return err
		}
		got, err = c.file(f, info, to, c.buffer(0))
		f.Close()
	} else {
		got, target, err = c.special(from, name, info, to)
	}
	if err == nil && rel != nil {
		c.add(*rel, got.info, target, got.attrs, got.sum)
	}
	return err
}

// special copies a link, FIFO, device or socket.
func (c *copying) special(from *rootfs.Dir, name string, info rootfs.Info, to place) (got result, target string, err error) {
	got.info = info
	if got.attrs, err = from.Xattrs(name); err != nil {
		return got, "", err
	}
	if info.IsSymlink() {
		if target, err = from.Readlink(name); err != nil {
			return got, "", err
		}
	}
	if info.Mode&unix.S_IFMT == unix.S_IFSOCK { // an empty file: a socket means nothing without its process
		got.info.Mode, got.info.Size = info.Perm()|unix.S_IFREG, 0
	}
	if to.dir == nil {
		return got, target, nil
	}
	if err := c.vacate(to); err != nil {
		return got, "", err
	}
	switch got.info.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		err = to.dir.Symlink(target, to.base)
	case unix.S_IFREG:
		var f *rootfs.File
		if f, err = to.dir.NewRegular(to.base, private); err == nil {
			err = f.Close()
		}
	default:
		err = to.dir.Mknod(to.base, info.Mode&unix.S_IFMT|0o600, info.Rdev)
	}
	if info.IsDevice() && c.o.SkipDevice != nil && errors.Is(err, unix.EPERM) {
		c.o.SkipDevice(info.Name)
		return got, target, nil
	}
	if err != nil {
		return got, "", err
	}
	return got, target, c.attributes(to.dir.At(to.base), got.info, got.attrs)
}

// file copies or hashes an open regular file.
func (c *copying) file(f *rootfs.File, info rootfs.Info, to place, buf []byte) (got result, err error) {
	got.info = info
	if got.attrs, err = f.Xattrs(); err != nil {
		return got, err
	}
	if to.dir == nil {
		got.sum, err = c.indexedSum(f, info, buf)
		return got, err
	}
	out, err := c.create(to, c.beginning(info))
	if err != nil {
		return got, err
	}
	err = c.fill(out, f, &got, to, buf)
	return got, err
}

// attributes sets owner, mode, extended attributes and time of something just written.
func (c *copying) attributes(at rootfs.Attributes, info rootfs.Info, attrs map[string][]byte) error {
	if err := c.permissions(at, info); err != nil {
		return err
	}
	return c.extras(at, info, attrs)
}

// permissions sets owner and mode.
func (c *copying) permissions(at rootfs.Attributes, info rootfs.Info) error {
	uid, gid := c.owner(info)
	if err := at.Chown(uid, gid); err != nil || info.IsSymlink() {
		return err
	}
	return at.Chmod(c.chmod.Apply(info.Perm(), info.IsDir()))
}

// extras sets extended attributes and time, which come after the owner.
func (c *copying) extras(at rootfs.Attributes, info rootfs.Info, attrs map[string][]byte) error {
	for key, value := range attrs {
		if keepXattr(key) {
			_ = at.SetXattr(key, value) // best effort: not every file system or user can (dockerfile.md §6.4)
		}
	}
	return at.Utimes(c.mtime(info))
}

func keepXattr(key string) bool {
	return key == "security.capability" || strings.HasPrefix(key, "user.") &&
		!strings.HasPrefix(key, "user.overlay.") && !strings.HasPrefix(key, "user.containers.") && !strings.HasPrefix(key, "user.slipway.")
}

// refuseWhiteout keeps names out of images that would be taken for whiteouts of a layer (dockerfile.md §19.17).
func refuseWhiteout(name string) error {
	if strings.HasPrefix(name, ".wh.") {
		return whiteoutError(name)
	}
	return nil
}

func whiteoutError(name string) error {
	return fmt.Errorf("%q cannot be copied: the name cannot be told from a whiteout of a layer", name)
}

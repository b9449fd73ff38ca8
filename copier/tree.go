package copier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

const typeRegular = unix.S_IFREG

// copying is the state of one Copy, Digest or PutFile. dst is nil for Digest.
type copying struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call
	dst     *rootfs.Root
	o       Options
	chmod   Chmod
	exclude *Ignore
	sum     hash.Hash
	files   int
	bytes   int64
	links   map[inode]linked
	buf     []byte
}

// inode identifies a file of the source; linked is where it was copied to first.
type (
	inode  struct{ dev, ino uint64 }
	linked struct{ dir, base, rel string }
)

// place is where something is written: an open directory and a name in it.
type place struct {
	dir  *rootfs.Dir
	base string
}

func (c *copying) owner(info rootfs.Info) (uid, gid int) {
	if c.o.KeepOwner {
		uid, gid = info.UID, info.GID
	}
	if c.o.UID != nil {
		uid = *c.o.UID
	}
	if c.o.GID != nil {
		gid = *c.o.GID
	}
	return uid, gid
}

// mkdirAll makes a destination directory. What is made belongs to --chown's owner, else to root.
func (c *copying) mkdirAll(name string) (d *rootfs.Dir, existed bool, err error) {
	d, err = c.dst.Dir(name)
	if err == nil {
		return d, true, nil
	}
	uid, gid := 0, 0
	if c.o.UID != nil {
		uid = *c.o.UID
	}
	if c.o.GID != nil {
		gid = *c.o.GID
	}
	d, err = c.dst.MkdirAll(name, c.chmod.parents(), uid, gid)
	if errors.Is(err, unix.ENOTDIR) {
		err = fmt.Errorf("destination %s already exists but is not a directory", name)
	}
	return d, false, err
}

// place finds where a file called name goes: into dest if that is a directory or says so by a slash,
// else to dest itself, through a link there, also a dangling one.
func (c *copying) place(dest, name string) (place, error) {
	into := strings.HasSuffix(dest, "/")
	if !into {
		i, err := c.dst.Stat(dest)
		into = err == nil && i.IsDir()
	}
	if into {
		d, _, err := c.mkdirAll(dest)
		return place{d, name}, err
	}
	for range 40 {
		dir, base := path.Split(path.Clean("/" + dest))
		d, _, err := c.mkdirAll(dir)
		if err != nil {
			return place{}, err
		}
		target, err := d.Readlink(base)
		if err != nil {
			return place{d, base}, nil //nolint:nilerr // not a link
		}
		d.Close()
		if !path.IsAbs(target) {
			target = path.Join(dir, target)
		}
		dest = target
	}
	return place{}, fmt.Errorf("destination %s: %w", dest, unix.ELOOP)
}

// item copies one selected thing.
func (c *copying) item(src *rootfs.Root, it item, dest string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if it.chain != "" {
		into, err := c.parents(src, it, dest)
		if err != nil {
			return err
		}
		dest = into
	}
	if it.info.IsDir() {
		return c.tree(src, it, dest)
	}
	dir, base := path.Split(it.path)
	if !c.o.NoFollow {
		dir, base = c.followed(src, it.path)
	}
	from, err := src.Dir(dir)
	if err != nil {
		return err
	}
	defer from.Close()
	if c.o.Unpack && it.info.IsRegular() {
		if done, err := c.unpack(from, base, dest); done || err != nil {
			return err
		}
	}
	var to place
	if c.dst != nil {
		if to, err = c.place(dest, it.base); err != nil {
			return err
		}
		defer to.dir.Close()
	}
	return c.entry(from, base, to, it.base)
}

// followed resolves links at the end of a source path. What it returns is opened without following again.
func (c *copying) followed(src *rootfs.Root, name string) (dir, base string) {
	for range 40 {
		dir, base = path.Split(name)
		d, err := src.Dir(dir)
		if err != nil {
			break
		}
		target, err := d.Readlink(base)
		d.Close()
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(dir, target)
		}
		name = path.Clean(target)
	}
	return dir, base
}

// parents makes the directories of an item's chain below dest, like their sources, and returns the last one with a slash.
func (c *copying) parents(src *rootfs.Root, it item, dest string) (string, error) {
	into := strings.TrimSuffix(dest, "/") + "/"
	prefix := strings.TrimSuffix(path.Dir(it.path), strings.TrimPrefix(it.chain, "/"))
	rel := ""
	for _, part := range strings.Split(strings.Trim(it.chain, "/"), "/") {
		if part == "" {
			continue
		}
		rel = path.Join(rel, part)
		info, err := src.Stat(path.Join(prefix, rel))
		if err != nil {
			return "", err
		}
		c.add(rel, info, "", nil, nil)
		if c.dst == nil {
			continue
		}
		parent, _, err := c.mkdirAll(path.Dir(path.Join(into, rel)))
		if err != nil {
			return "", err
		}
		err = c.mkdir(parent, part, info, nil)
		parent.Close()
		if err != nil {
			return "", err
		}
	}
	if it.info.IsDir() {
		return path.Join(into, rel, it.base) + "/", nil
	}
	return path.Join(into, rel) + "/", nil
}

// tree merges the contents of a directory into dest.
func (c *copying) tree(src *rootfs.Root, it item, dest string) error {
	from, err := src.Dir(it.path)
	if err != nil {
		return err
	}
	defer from.Close()
	if c.dst == nil {
		c.add("", rootfs.Info{Mode: unix.S_IFDIR}, "", nil, nil)
		return c.children(from, strings.TrimPrefix(it.path, "/"), "", nil)
	}
	to, _, err := c.mkdirAll(dest)
	if err != nil {
		return err
	}
	defer to.Close()
	c.add("", rootfs.Info{Mode: unix.S_IFDIR}, "", nil, nil)
	if err := c.children(from, strings.TrimPrefix(it.path, "/"), "", func() (*rootfs.Dir, error) { return to, nil }); err != nil {
		return err
	}
	return to.Utimes(".", c.mtime(it.info))
}

// children copies the entries of a directory. at is its path below the source root, rel below the copied
// directory; to opens the destination when something is really copied there.
func (c *copying) children(from *rootfs.Dir, at, rel string, to func() (*rootfs.Dir, error)) error {
	names, err := from.ReadDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		info, err := from.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the directory was read
		}
		if err != nil {
			return err
		}
		at, rel := path.Join(at, name), path.Join(rel, name)
		out := c.o.Ignore.Excluded(at) || c.exclude.Excluded(rel) || c.exclude.Excluded(at)
		switch {
		case info.IsDir():
			if !out || c.o.Ignore.Negated() || c.exclude.Negated() {
				err = c.subtree(from, info, at, rel, out, to)
			}
		case !out:
			err = c.child(from, name, rel, to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) child(from *rootfs.Dir, name, rel string, to func() (*rootfs.Dir, error)) error {
	if to == nil {
		return c.entry(from, name, place{}, rel)
	}
	d, err := to()
	if err != nil {
		return err
	}
	return c.entry(from, name, place{d, name}, rel)
}

// subtree copies a directory inside a copied one. An excluded one is made only when something inside is
// re-included.
func (c *copying) subtree(from *rootfs.Dir, info rootfs.Info, at, rel string, lazy bool, to func() (*rootfs.Dir, error)) error {
	sub, err := from.Dir(info.Name)
	if err != nil {
		return err
	}
	defer sub.Close()
	attrs, err := from.Xattrs(info.Name)
	if err != nil {
		return err
	}
	var made *rootfs.Dir
	counted := false
	ensure := func() (*rootfs.Dir, error) {
		if counted {
			return made, nil
		}
		counted = true
		var parent *rootfs.Dir
		if to != nil { // parents first, in the digest too
			if parent, err = to(); err != nil {
				return nil, err
			}
		}
		c.add(rel, info, "", attrs, nil)
		if c.dst == nil {
			return nil, nil
		}
		if err := c.mkdir(parent, info.Name, info, attrs); err != nil {
			return nil, err
		}
		made, err = parent.Dir(info.Name)
		return made, err
	}
	if !lazy {
		if _, err := ensure(); err != nil {
			return err
		}
	}
	err = c.children(sub, at, rel, ensure)
	if made != nil {
		defer made.Close()
		if err == nil {
			err = made.Utimes(".", c.mtime(info))
		}
	}
	return err
}

// mkdir makes or takes over a directory with its source's mode and owner; a link there is replaced.
func (c *copying) mkdir(parent *rootfs.Dir, name string, info rootfs.Info, attrs map[string][]byte) error {
	if err := refuseWhiteout(name); err != nil {
		return err
	}
	err := parent.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		i, lerr := parent.Lstat(name)
		if lerr != nil {
			return lerr
		}
		if !i.IsDir() {
			return fmt.Errorf("cannot copy to non-directory: %s", path.Join(parent.Name(), name))
		}
		err = nil
	}
	if err != nil {
		return err
	}
	return c.attributes(parent, name, info, attrs)
}

// entry copies anything that is not a directory; rel is its name in the digest.
func (c *copying) entry(from *rootfs.Dir, name string, to place, rel string) error {
	info, err := from.Lstat(name)
	if err != nil {
		return err
	}
	if err := refuseWhiteout(path.Base(rel)); err != nil {
		return err
	}
	attrs, err := from.Xattrs(name)
	if err != nil {
		return err
	}
	if to.dir != nil {
		if i, err := to.dir.Lstat(to.base); err == nil && i.IsDir() {
			return fmt.Errorf("cannot replace to directory %s with file", path.Join(to.dir.Name(), to.base))
		}
		if err := to.dir.Unlink(to.base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	id := inode{info.Dev, info.Ino}
	if first, ok := c.links[id]; ok && info.Nlink > 1 {
		return c.hardlink(first, to, rel, info)
	}
	if info.Nlink > 1 {
		l := linked{rel: rel}
		if to.dir != nil {
			l.dir, l.base = to.dir.Name(), to.base
		}
		c.links[id] = l
	}
	return c.node(from, name, info, attrs, to, rel)
}

// hardlink makes to the same file as the one copied first from the same inode.
func (c *copying) hardlink(first linked, to place, rel string, info rootfs.Info) error {
	c.add(rel, info, "hard:"+first.rel, nil, nil)
	if to.dir == nil {
		return nil
	}
	d, err := c.dst.Dir(first.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return to.dir.Link(d, first.base, to.base)
}

func (c *copying) node(from *rootfs.Dir, name string, info rootfs.Info, attrs map[string][]byte, to place, rel string) error {
	var sum []byte
	target := ""
	var err error
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		sum, err = c.file(from, name, info, to)
	case unix.S_IFLNK:
		if target, err = from.Readlink(name); err == nil && to.dir != nil {
			err = to.dir.Symlink(target, to.base)
		}
	case unix.S_IFSOCK: // becomes an empty file, as a socket means nothing without its process
		info.Mode, info.Size = info.Mode&0o7777|unix.S_IFREG, 0
		if to.dir != nil {
			var f *os.File
			if f, err = to.dir.Create(to.base, 0o600); err == nil {
				f.Close()
			}
		}
	default:
		if to.dir != nil {
			err = to.dir.Mknod(to.base, info.Mode&unix.S_IFMT|0o600, info.Rdev)
		}
	}
	if err != nil {
		return err
	}
	c.add(rel, info, target, attrs, sum)
	if to.dir == nil {
		return nil
	}
	return c.attributes(to.dir, to.base, info, attrs)
}

// file copies or hashes the data of a regular file.
func (c *copying) file(from *rootfs.Dir, name string, info rootfs.Info, to place) ([]byte, error) {
	f, err := from.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s changed while being copied", path.Join(from.Name(), name))
	}
	if to.dir == nil {
		return c.hashFile(f)
	}
	sum, n, err := c.write(to.dir, to.base, f, info.Size)
	if err == nil && n != info.Size {
		err = fmt.Errorf("%s changed while being copied", path.Join(from.Name(), name))
	}
	return sum, err
}

// attributes sets owner, mode, extended attributes and time of something just written.
func (c *copying) attributes(dir *rootfs.Dir, name string, info rootfs.Info, attrs map[string][]byte) error {
	uid, gid := c.owner(info)
	if err := dir.Chown(name, uid, gid); err != nil {
		return err
	}
	if !info.IsSymlink() {
		if err := dir.Chmod(name, c.chmod.Apply(info.Perm(), info.IsDir())); err != nil {
			return err
		}
	}
	for key, value := range attrs {
		if keepXattr(key) {
			_ = dir.SetXattr(name, key, value) // best effort: not every file system or user can (dockerfile.md §6.4)
		}
	}
	return dir.Utimes(name, c.mtime(info))
}

func keepXattr(key string) bool {
	return key == "security.capability" || strings.HasPrefix(key, "user.") &&
		!strings.HasPrefix(key, "user.overlay.") && !strings.HasPrefix(key, "user.containers.")
}

// refuseWhiteout keeps names out of images that would be taken for whiteouts of a layer (dockerfile.md §19.17).
func refuseWhiteout(name string) error {
	if strings.HasPrefix(name, ".wh.") {
		return fmt.Errorf("%q cannot be copied: the name cannot be told from a whiteout of a layer", name)
	}
	return nil
}

// add puts one entry into the digest: everything but times. Owners are those the copy gets.
func (c *copying) add(rel string, info rootfs.Info, link string, attrs map[string][]byte, sum []byte) {
	if !info.IsDir() {
		c.files++
		c.bytes += info.Size
	}
	if c.o.NoDigest {
		return
	}
	uid, gid := c.owner(info)
	mode := info.Mode&unix.S_IFMT | c.chmod.Apply(info.Perm(), info.IsDir())
	if info.IsSymlink() {
		mode = unix.S_IFLNK
	}
	var rdev uint64
	if info.IsDevice() {
		rdev = info.Rdev
	}
	for _, n := range []uint64{uint64(mode), uint64(uid), uint64(gid), rdev} {
		_ = binary.Write(c.sum, binary.LittleEndian, n)
	}
	c.text(rel)
	c.text(link)
	keys := make([]string, 0, len(attrs))
	for k := range attrs {
		if keepXattr(k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		c.text(k)
		c.text(string(attrs[k]))
	}
	c.text(string(sum))
}

// text writes a string with its length in front, so that no two lists of strings look alike.
func (c *copying) text(s string) {
	_ = binary.Write(c.sum, binary.LittleEndian, uint64(len(s)))
	_, _ = io.WriteString(c.sum, s)
}

func (c *copying) content(items []item, patterns int) Content {
	out := Content{Kind: "file:", Files: c.files, Bytes: c.bytes}
	switch {
	case patterns > 1 || len(items) > 1:
		out.Kind = "multi:"
	case len(items) == 1 && items[0].info.IsDir():
		out.Kind = "dir:"
	}
	if !c.o.NoDigest && (c.files > 0 || len(items) > 0) {
		out.Digest = digest.NewDigest(digest.SHA256, c.sum)
	}
	return out
}

package copier

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

const typeRegular = unix.S_IFREG

// copying is the state of one Copy, Digest or PutFile. dst is nil for Digest.
type copying struct {
	ctx        context.Context //nolint:containedctx // lives as long as one call
	dst        *rootfs.Root
	o          Options
	chmod      Chmod
	exclude    *Ignore
	sum, state hash.Hash
	scratch    []byte
	files      int
	bytes      int64
	newest     time.Time
	links      map[inode]linked // of the pattern at hand
	bufs       [maxWorkers][]byte
	creating   sync.Mutex  // held while files are made
	top        rootfs.Info // the directory that a directory at hand is copied to
	// under is what the names of the item at hand are below, for listing (Options.List).
	under   string
	listing []byte
	// dirTimes are the directories made on the way, whose time is set at the end: what they have as a copy, or, with Link, the zero
	// time for what is newest in them.
	dirTimes map[string]time.Time
}

// place is where something is written: an open directory and a name in it.
type place struct {
	dir  *rootfs.Dir
	base string
}

// buffer is the nth worker's.
func (c *copying) buffer(n int) []byte {
	if c.bufs[n] == nil {
		c.bufs[n] = make([]byte, 256<<10)
	}
	return c.bufs[n]
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
	if strings.Contains("/"+name, "/.wh.") {
		return nil, false, whiteoutError(name)
	}
	if c.o.Link {
		return c.linkDir(name)
	}
	d, err = c.dst.Dir(name)
	if err == nil {
		return d, true, nil
	}
	uid, gid := c.owner(rootfs.Info{})
	d, err = c.dst.MkdirAll(name, c.chmod.parents(), uid, gid)
	if errors.Is(err, unix.ENOTDIR) {
		err = fmt.Errorf("destination %s already exists but is not a directory", strings.TrimSuffix(name, "/"))
	}
	return d, false, err
}

// place finds where a file called name goes: into dest if that is a directory or says so by a slash,
// else to dest itself, through a link there, also a dangling one.
func (c *copying) place(dest, name string) (place, error) {
	if c.into(dest) {
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
		if err != nil || c.o.Link {
			return place{d, base}, nil // not a link, or one to be replaced
		}
		d.Close()
		if !path.IsAbs(target) {
			target = path.Join(dir, target)
		}
		dest = target
	}
	return place{}, fmt.Errorf("destination %s: %w", dest, unix.ELOOP)
}

// into tells whether a file goes into dest instead of to it.
func (c *copying) into(dest string) bool {
	if strings.HasSuffix(dest, "/") {
		return true
	}
	if c.o.Link {
		_, made := c.dirTimes[path.Clean("/"+dest)]
		return made
	}
	i, err := c.dst.Stat(dest)
	return err == nil && i.IsDir()
}

// linkDir makes a directory as a layer of its own would have it (dockerfile.md §6.7): what is there is not followed,
// anything but a directory is replaced, and directories on the way get 0755 and --chown's owner whatever they had.
func (c *copying) linkDir(name string) (*rootfs.Dir, bool, error) {
	d, err := c.dst.Dir("/")
	if err != nil {
		return nil, false, err
	}
	at, made := "", true
	for _, part := range strings.Split(trim(name), "/") {
		if part == "" {
			continue
		}
		at += "/" + part
		var next *rootfs.Dir
		if _, made = c.dirTimes[at]; made {
			next, err = d.Dir(part)
		} else {
			next, err = c.mkdirOnTheWay(d, part)
			c.dirTimes[at] = time.Time{}
		}
		d.Close()
		if err != nil {
			return nil, false, err
		}
		d = next
	}
	return d, made, nil
}

// mkdirOnTheWay makes one of the directories that linkDir goes through: a symbolic --chmod is for what is copied, not for them.
func (c *copying) mkdirOnTheWay(parent *rootfs.Dir, name string) (*rootfs.Dir, error) {
	d, err := c.directory(parent, name)
	if err != nil {
		return nil, err
	}
	uid, gid := c.owner(rootfs.Info{})
	at := d.At(".")
	if err := errors.Join(at.Chown(uid, gid), at.Chmod(c.chmod.parents()), at.Utimes(c.mtime(rootfs.Info{}))); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// setTimes gives the directories on the way their times, now that nothing is made in them any more. Those that linkDir made get
// one that does not depend on now: that of the newest thing in them, or the epoch (exact.md, containers.md §11.2).
func (c *copying) setTimes() error {
	newest := c.mtime(rootfs.Info{Mtime: c.newest})
	for name, mtime := range c.dirTimes {
		if mtime.IsZero() {
			mtime = newest
		}
		d, err := c.dst.Dir(name)
		if err != nil {
			return err
		}
		err = d.Utimes(".", mtime)
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
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
	if err := refuseWhiteout(it.base); err != nil {
		return err
	}
	dir, base := path.Split(it.path)
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
	err = c.entry(from, base, to, it.base)
	if errors.Is(err, errGone) {
		return fmt.Errorf("copier: stat: %q: %w", it.path, fs.ErrNotExist)
	}
	return err
}

// parents makes the directories of an item's chain below dest, like their sources, and returns the last one with a
// slash. A directory is the end of its own chain.
func (c *copying) parents(src *rootfs.Root, it item, dest string) (string, error) {
	into, chain, rel := strings.TrimSuffix(dest, "/")+"/", trim(it.chain), ""
	if it.info.IsDir() {
		chain = join(chain, it.base)
	}
	for _, part := range strings.Split(chain, "/") {
		if part == "" {
			continue
		}
		rel = path.Join(rel, part)
		info, err := src.Stat(path.Join(it.pivot, rel))
		if err != nil {
			return "", err
		}
		if err := refuseWhiteout(part); err != nil {
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
		d, err := c.mkdir(parent, part, info, nil)
		parent.Close()
		if err != nil {
			return "", err
		}
		d.Close()
		c.dirTimes[path.Join("/", into, rel)] = c.mtime(info)
	}
	return path.Join(into, rel) + "/", nil
}

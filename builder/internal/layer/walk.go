package layer

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A walker lists changes to a writer, parents before children, names in byte order.
type walker func(w *writer) error

func bytesFields(text []byte) []byte { return bytes.Join(bytes.Fields(text), []byte(" ")) }

const timeUnit = time.Second

// overlaid walks an overlay upper directory: what is in it is what changed. Directories that were only
// copied up, with nothing changed in or about them, are left out: mounting on a file in them does that.
func overlaid(upper *rootfs.Root, below []*rootfs.Root) walker {
	return func(w *writer) error {
		d, err := upper.Dir("/")
		if err != nil {
			return err
		}
		defer d.Close()
		return (&overlayWalk{w, below}).dir(d, "")
	}
}

type overlayWalk struct {
	w     *writer
	below []*rootfs.Root
}

func (o *overlayWalk) dir(d *rootfs.Dir, rel string) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := o.entry(d, n, path.Join(rel, n)); err != nil {
			return err
		}
	}
	return nil
}

func (o *overlayWalk) entry(d *rootfs.Dir, name, rel string) error {
	i, err := d.Lstat(name)
	if err != nil {
		return err
	}
	if i.Mode&unix.S_IFMT == unix.S_IFCHR && i.Rdev == 0 {
		return o.w.whiteout(rel)
	}
	attrs, err := d.Xattrs(name)
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return o.w.entry(d, name, rel, i, attrs)
	}
	sub, err := d.Dir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	opaque := isOpaque(attrs)
	if !opaque {
		drop, err := o.untouched(sub, rel, i, attrs)
		if err != nil {
			return err
		}
		if drop {
			o.w.dropped = append(o.w.dropped, rel)
			return nil
		}
	}
	if err := o.w.entry(d, name, rel, i, attrs); err != nil {
		return err
	}
	if opaque {
		if err := o.w.whiteout(path.Join(rel, ".wh..opq")); err != nil {
			return err
		}
	}
	return o.dir(sub, rel)
}

func isOpaque(attrs map[string][]byte) bool {
	return string(attrs["trusted.overlay.opaque"]) == "y" || string(attrs["user.overlay.opaque"]) == "y"
}

// untouched tells whether a directory is the same as that below, and empty: then it need not be in the layer.
// So are the directories that kernel file systems are mounted on, when the base has none.
func (o *overlayWalk) untouched(sub *rootfs.Dir, rel string, i rootfs.Info, attrs map[string][]byte) (bool, error) {
	names, err := sub.ReadDir()
	if err != nil || len(names) > 0 {
		return false, err
	}
	for _, r := range o.below {
		lower, err := r.Lstat(rel)
		if err != nil {
			continue
		}
		return lower.IsDir() && sameDir(i, lower) && sameXattrs(r, rel, attrs), nil
	}
	return kernelDir(rel), nil
}

func kernelDir(rel string) bool { return rel == "dev" || rel == "proc" || rel == "sys" }

func sameDir(a, b rootfs.Info) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Mtime.Equal(b.Mtime)
}

func sameXattrs(r *rootfs.Root, rel string, attrs map[string][]byte) bool {
	d, err := r.Dir(path.Dir("/" + rel))
	if err != nil {
		return false
	}
	defer d.Close()
	lower, err := d.Xattrs(path.Base(rel))
	return err == nil && equalXattrs(attrs, lower)
}

func equalXattrs(a, b map[string][]byte) bool {
	for k, v := range a {
		if layerXattr(k) && !bytes.Equal(v, b[k]) {
			return false
		}
	}
	for k := range b {
		if _, ok := a[k]; layerXattr(k) && !ok {
			return false
		}
	}
	return true
}

// compared walks a whole tree and lists what differs from base, for drivers whose layers are whole trees.
// A nil base is an empty one.
func compared(tree, base *rootfs.Root) walker {
	return func(w *writer) error {
		d, err := tree.Dir("/")
		if err != nil {
			return err
		}
		defer d.Close()
		var b *rootfs.Dir
		if base != nil {
			if b, err = base.Dir("/"); err != nil {
				return err
			}
			defer b.Close()
		}
		return (&compareWalk{w: w, squash: base == nil}).dir(d, b, "")
	}
}

type compareWalk struct {
	w       *writer
	squash  bool
	pending []func() error // directories that are listed once something in them is
}

func (c *compareWalk) flush() error {
	for _, f := range c.pending {
		if err := f(); err != nil {
			return err
		}
	}
	c.pending = nil
	return nil
}

// dir lists the changes in a directory; b is its counterpart in the base, or nil.
func (c *compareWalk) dir(d, b *rootfs.Dir, rel string) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	all := names
	if b != nil {
		old, err := b.ReadDir()
		if err != nil {
			return err
		}
		all = slices.Concat(names, old)
		slices.Sort(all)
		all = slices.Compact(all)
	}
	for _, n := range all {
		if _, found := slices.BinarySearch(names, n); !found {
			if err := c.flush(); err != nil {
				return err
			}
			if err := c.w.whiteout(path.Join(rel, n)); err != nil {
				return err
			}
			continue
		}
		if err := c.entry(d, b, n, path.Join(rel, n)); err != nil {
			return err
		}
	}
	return nil
}

func (c *compareWalk) entry(d, b *rootfs.Dir, name, rel string) error {
	i, err := d.Lstat(name)
	if err != nil {
		return err
	}
	attrs, err := d.Xattrs(name)
	if err != nil {
		return err
	}
	same, old, err := c.same(b, name, i, attrs)
	if err != nil {
		return err
	}
	list := func() error { return c.w.entry(d, name, rel, i, attrs) }
	if !i.IsDir() {
		if same {
			return nil
		}
		if err := c.flush(); err != nil {
			return err
		}
		return list()
	}
	return c.subtree(d, b, name, rel, same || old == nil && kernelDir(rel), old, list)
}

// subtree lists a directory at once when it changed itself, else when something in it did.
func (c *compareWalk) subtree(d, b *rootfs.Dir, name, rel string, later bool, old *rootfs.Info, list func() error) error {
	sub, err := d.Dir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	var lower *rootfs.Dir
	if old != nil && old.IsDir() {
		if lower, err = b.Dir(name); err != nil {
			return err
		}
		defer lower.Close()
	}
	mark := len(c.pending)
	c.pending = append(c.pending, list)
	if !later {
		if err := c.flush(); err != nil {
			return err
		}
	}
	if err := c.dir(sub, lower, rel); err != nil {
		return err
	}
	if len(c.pending) > mark {
		c.pending = c.pending[:mark]
	}
	return nil
}

// same tells whether the base has the same entry: by what stat says, as reading every file would take too long.
func (c *compareWalk) same(b *rootfs.Dir, name string, i rootfs.Info, attrs map[string][]byte) (bool, *rootfs.Info, error) {
	if b == nil {
		return false, nil, nil
	}
	old, err := b.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, err
	}
	before, err := b.Xattrs(name)
	if err != nil {
		return false, nil, err
	}
	same := sameDir(i, old) && i.Rdev == old.Rdev && (i.IsDir() || i.Size == old.Size) && equalXattrs(attrs, before)
	return same, &old, nil
}

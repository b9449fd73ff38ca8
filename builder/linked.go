package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/state"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
)

// linkedDir is where a container's directory in storage keeps content that is to be layers of its own: for each a directory
// with "tree" and, while it is being filled, a locked "lock".
const linkedDir = "slipway-linked"

// A Linked is content on its way to a layer of its own, which the next commit puts above the container's and those that were
// added before (copy --link, cli.md §9.3). Commands in the container do not see it.
type Linked struct {
	c    *Container
	dir  string
	lock *flock.Lock
}

// NewLinked begins a layer of its own above the container's. The caller copies into it, then calls Add or Discard.
func (c *Container) NewLinked() (*Linked, error) {
	dir := filepath.Join(c.dir, linkedDir, newID()[:16])
	if err := os.MkdirAll(filepath.Join(dir, "tree"), 0o755); err != nil { //nolint:gosec // the container's directory is closed to others
		return nil, fmt.Errorf("beginning a layer: %w", err)
	}
	lock, err := flock.Acquire(filepath.Join(dir, "lock"), flock.Exclusive)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("beginning a layer: %w", err), os.RemoveAll(dir))
	}
	return &Linked{c, dir, lock}, nil
}

func (l *Linked) tree() string { return filepath.Join(l.dir, "tree") }

// Copy is the container's Copy, but into the layer: nothing of the container's files is asked or followed, except that names
// of owners are looked up there (dockerfile.md §19.2).
func (l *Linked) Copy(ctx context.Context, dest string, src source.Source, o CopyOptions) (copier.Content, error) {
	hold, err := l.c.hold(false)
	if err != nil {
		return copier.Content{}, err
	}
	defer hold.Close()
	content, err := l.copy(ctx, dest, src, o)
	if err != nil {
		return content, fmt.Errorf("copying %s: %w", src, err)
	}
	return content, nil
}

func (l *Linked) copy(ctx context.Context, dest string, src source.Source, o CopyOptions) (content copier.Content, err error) {
	if o.Chown != "" {
		err := l.c.inRoot(func(root *rootfs.Root) (err error) { o.Chown, err = numericOwner(root, o.Chown); return err })
		if err != nil {
			return content, err
		}
	}
	o.Link = true
	in, err := src.Open(ctx)
	if err != nil {
		return content, err
	}
	if in.Close != nil {
		defer in.Close()
	}
	root, err := rootfs.Open(l.tree(), l.c.s.own)
	if err != nil {
		return content, err
	}
	defer root.Close()
	co, err := copierOptions(root, o)
	if err != nil {
		return content, err
	}
	return put(ctx, root, l.c.destination(dest), in, o.Unpack, co)
}

// Add notes the layer in the container's record; history is what made it.
func (l *Linked) Add(history string) error {
	err := l.c.update(func() error {
		now := l.c.s.o.Now().UTC()
		l.c.rec.AppendedLinkedLayers = append(l.c.rec.AppendedLinkedLayers, state.LinkedLayer{
			History: config.History{Created: &now, CreatedBy: history}, BlobPath: l.tree(),
		})
		return nil
	})
	if err != nil {
		return err
	}
	lock := l.lock
	l.lock = nil
	return errors.Join(lock.Remove(), l.c.sweepLinked())
}

// Discard drops the layer unless it was added. It may be called more than once.
func (l *Linked) Discard() error {
	if l.lock == nil {
		return nil
	}
	lock := l.lock
	l.lock = nil
	return errors.Join(os.RemoveAll(l.dir), lock.Close())
}

// sweepLinked removes what killed commands left: layers that are not in the record and that nobody is filling.
func (c *Container) sweepLinked() error {
	base := filepath.Join(c.dir, linkedDir)
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		named := func(l state.LinkedLayer) bool { return strings.HasPrefix(l.BlobPath, dir+"/") }
		if slices.ContainsFunc(c.rec.AppendedLinkedLayers, named) {
			continue
		}
		lock, err := flock.Try(filepath.Join(dir, "lock"), flock.Exclusive)
		if err != nil {
			continue // being filled, or gone
		}
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return err
		}
	}
	return nil
}

// linkedLayers stores the layers that were added, above top and under a claim, and returns the uppermost.
func (c *Container) linkedLayers(ctx context.Context, cfg *config.Image, top string, o Output, claim *claim) (string, error) {
	created := c.s.created(o)
	for _, l := range c.rec.AppendedLinkedLayers {
		res, err := c.linkedLayer(ctx, l.BlobPath, top, o, claim)
		if err != nil {
			return "", fmt.Errorf("committing %s: storing the layer of %q: %w", c.Name(), l.History.CreatedBy, err)
		}
		if o.Timestamp != nil || o.Epoch != nil {
			l.History.Created = &created
		}
		top = res.ID
		grow(cfg, res.DiffID, l.History)
	}
	return top, nil
}

// linkedLayer stores one: ours are directories, other tools also keep tars.
func (c *Container) linkedLayer(ctx context.Context, blob, top string, o Output, claim *claim) (layer.Result, error) {
	lo := c.s.layerOptions(o)
	lo.AllowEmpty, lo.Claim = true, claim.add
	info, err := os.Stat(blob)
	if err != nil {
		return layer.Result{}, err
	}
	if info.IsDir() {
		return layer.Tree(ctx, c.s.st, blob, top, lo)
	}
	dir, done, err := c.s.scratch()
	if err != nil {
		return layer.Result{}, err
	}
	res, err := c.unpackLinked(ctx, blob, dir, top, lo)
	return res, errors.Join(err, done())
}

func (c *Container) unpackLinked(ctx context.Context, blob, dir, top string, lo layer.Options) (layer.Result, error) {
	root, err := rootfs.Open(dir, c.s.own)
	if err != nil {
		return layer.Result{}, err
	}
	defer root.Close()
	if err := c.putLinked(ctx, root, blob); err != nil {
		return layer.Result{}, err
	}
	return layer.Tree(ctx, c.s.st, dir, top, lo)
}

// putLinked copies the content of one to a root, as its layer would show it there.
func (c *Container) putLinked(ctx context.Context, root *rootfs.Root, blob string) error {
	info, err := os.Stat(blob)
	if err != nil {
		return err
	}
	o := copier.Options{KeepOwner: true, NoDigest: true, Link: true}
	if !info.IsDir() {
		f, err := os.Open(blob)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = copier.Extract(ctx, root, "/", f, o)
		return err
	}
	tree, err := rootfs.Open(blob, c.s.own)
	if err != nil {
		return err
	}
	defer tree.Close()
	_, err = copier.Copy(ctx, root, "/", tree, []string{"/"}, o)
	return err
}

// squashLinked stores the whole file system as the layers that were added show it, as one layer.
func (c *Container) squashLinked(ctx context.Context, lo layer.Options) (res layer.Result, err error) {
	l, err := c.NewLinked() // for its directory
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, l.Discard()) }()
	root, err := rootfs.Open(l.tree(), c.s.own)
	if err != nil {
		return res, err
	}
	defer root.Close()
	err = c.inRoot(func(from *rootfs.Root) error { return copyRoot(ctx, root, from) })
	if err != nil {
		return res, err
	}
	for _, l := range c.rec.AppendedLinkedLayers {
		if err := c.putLinked(ctx, root, l.BlobPath); err != nil {
			return res, fmt.Errorf("adding what %q made: %w", l.History.CreatedBy, err)
		}
	}
	return layer.Tree(ctx, c.s.st, l.tree(), "", lo)
}

// copyRoot copies a whole file system, the root's own attributes too.
func copyRoot(ctx context.Context, to, from *rootfs.Root) error {
	if _, err := copier.Copy(ctx, to, "/", from, []string{"/"}, copier.Options{KeepOwner: true, NoDigest: true}); err != nil {
		return err
	}
	info, err := from.Lstat("/")
	if err != nil {
		return err
	}
	d, err := to.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	return errors.Join(d.Chown(".", info.UID, info.GID), d.Chmod(".", info.Perm()), d.Utimes(".", info.Mtime))
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
	"github.com/slipway-build/slipway/internal/idmap"
)

// A Workspace is a writable layer with a configuration: what a command runs in and files are copied to.
// On its own it is nameless and dies with its process; a [Container] is one with a name and a record.
// It is for one goroutine at a time.
type Workspace struct {
	s     *Store
	layer string       // the writable layer
	mount string       // what storage mounts: the layer, or the container that owns it
	fresh *layer.Fresh // the layer instead, where storage need not know of it
	cfg   *config.Image
	about about
	o     WorkspaceOptions
	alive *flock.Lock
	since time.Time // when it was made (layer.Moment)
	notes string    // the directory where commands that can meet here note what they make; "" where they cannot
	// defaults says that the sandbox lacks the host's defaults yet.
	defaults bool
	// users are the maps that storage applies to owners, nil for none; ownUsers gives commands a user namespace of their own, join is the path of
	// one that they get instead.
	users    *idmap.IDs
	ownUsers bool
	join     string
	// shifted are the maps that are applied for commands only (mountedShifted), nil for none; tree is the mount then, while there is one.
	shifted *idmap.IDs
	tree    *os.File
}

// about is what a command is told of the container it runs in.
type about struct{ name, id, image, imageID, mountLabel, processLabel, mountsFile string }

// NewWorkspace makes a workspace over a sealed layer ("" for an empty root). The caller seals or discards it.
func (s *Store) NewWorkspace(ctx context.Context, parent string, cfg *config.Image, o WorkspaceOptions) (*Workspace, error) {
	if w, err := s.freshWorkspace(parent, cfg, o); !errors.Is(err, layer.ErrNotFresh) {
		return w, err
	}
	id := newID()
	alive, err := s.live(id)
	if err != nil {
		return nil, err
	}
	ids, err := o.Users.maps()
	if err != nil {
		return nil, errors.Join(err, alive.Remove())
	}
	w := &Workspace{s: s, layer: id, mount: id, cfg: cfg.Clone(), o: o, alive: alive, ownUsers: o.Users.Namespace == "private", join: o.Users.join,
		about: about{id: id, mountLabel: o.Sandbox.Security.MountLabel, processLabel: o.Sandbox.Security.ProcessLabel}}
	lo := &storage.LayerOptions{Volatile: true}
	switch {
	case ids == nil:
	case s.shifts(ids):
		w.shifted = ids
	default:
		w.users = ids
		lo.UIDMap, lo.GIDMap = toStorage(ids.UIDs), toStorage(ids.GIDs)
	}
	_, err = s.st.CreateLayer(id, parent, nil, o.Sandbox.Security.MountLabel, true, lo)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a workspace: %w", err), alive.Remove())
	}
	if err := movable(s.st.GraphRoot()); err != nil {
		return nil, errors.Join(err, s.st.DeleteLayer(id), alive.Remove())
	}
	err = w.remap(ctx, parent)
	if err == nil {
		w.since, err = layer.Moment(s.st)
	}
	if err != nil {
		return nil, errors.Join(err, w.Discard())
	}
	return w, nil
}

// freshWorkspace makes one that storage does not know of. A layer in storage keeps others from removing those below it; without one the parent has to
// be a layer that nobody else knows of.
func (s *Store) freshWorkspace(parent string, cfg *config.Image, o WorkspaceOptions) (*Workspace, error) {
	ids, err := o.Users.maps()
	if err != nil {
		return nil, err
	}
	if _, own := s.made.Load(parent); !own && parent != "" || ids != nil {
		return nil, layer.ErrNotFresh
	}
	fresh, err := layer.NewFresh(s.st, parent, s.own, s.noteStaging)
	if err != nil {
		return nil, fmt.Errorf("making a workspace: %w", err)
	}
	id := newID()
	return &Workspace{s: s, fresh: fresh, cfg: cfg.Clone(), o: o, ownUsers: o.Users.Namespace == "private",
		about: about{id: id, mountLabel: o.Sandbox.Security.MountLabel, processLabel: o.Sandbox.Security.ProcessLabel}}, nil
}

// Config returns a copy of the configuration.
func (w *Workspace) Config() *config.Image { return w.cfg.Clone() }

// Configure edits the configuration: all of the changes, or none when one fails.
func (w *Workspace) Configure(changes ...config.Change) error {
	cfg := w.cfg.Clone()
	for _, c := range changes {
		if err := c(cfg); err != nil {
			return err
		}
	}
	w.cfg = cfg
	return nil
}

// mounted calls f with the mount point of the root file system.
func (w *Workspace) mounted(f func(dir string) error) (err error) {
	if w.fresh != nil {
		return w.mountedFresh(f)
	}
	dir, err := w.s.st.Mount(w.mount, w.about.mountLabel)
	if err != nil {
		return fmt.Errorf("mounting %s: %w", w.mount, translate(err))
	}
	defer func() {
		w.s.makeRoom()
		if _, uerr := w.s.st.Unmount(w.mount, false); uerr != nil && !errors.Is(uerr, storage.ErrLayerNotMounted) {
			err = errors.Join(err, fmt.Errorf("unmounting %s: %w", w.mount, uerr))
		}
	}()
	if err := w.ownRoot(dir); err != nil {
		return err
	}
	return f(dir)
}

func (w *Workspace) mountedFresh(f func(dir string) error) (err error) {
	dir, err := w.fresh.Mount(w.about.mountLabel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.fresh.Unmount()) }()
	return f(dir)
}

// ownRoot gives the root directory to the root of the container's user namespace: storage that shifts owners as it mounts makes it the
// host's, and so do the other tools of the family, whose commands then cannot write there.
func (w *Workspace) ownRoot(dir string) error {
	if w.users == nil {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("looking at the root directory: %w", err)
	}
	uid, gid, err := w.users.Outside(int(st.Uid), int(st.Gid))
	made := st.Uid == 0 && st.Gid == 0 // by storage, though the container may have somebody who is this process's root
	if u, g := w.users.Inside(st.Uid, st.Gid); err != nil || !made && (u != st.Uid || g != st.Gid) {
		return nil //nolint:nilerr // it is the container's already, or somebody's that the container has not
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return fmt.Errorf("giving the root directory to the container: %w", err)
	}
	return nil
}

// inRoot calls f with the root file system: the only way code here reaches a container's files.
func (w *Workspace) inRoot(f func(*rootfs.Root) error) error {
	return w.mounted(func(dir string) error {
		root, err := rootfs.OpenMapped(dir, w.s.own, w.users)
		if err != nil {
			return err
		}
		defer root.Close()
		return f(root)
	})
}

// View calls f with the root file system for reading, to copy from it. Root must not be used after f returns.
func (w *Workspace) View(f func(*rootfs.Root) error) error { return w.inRoot(f) }

// Mkdir makes a directory and its missing parents with mode 0755, all owned by the configured user, as
// WORKDIR does (dockerfile.md §8). A directory that exists is left as it is. A user who is not there yet, as USER is not
// checked, is taken for root: the build fails where it runs something as that user.
func (w *Workspace) Mkdir(_ context.Context, dir string) error {
	return w.inRoot(func(root *rootfs.Root) error {
		uid, gid, err := w.owner(root)
		if err != nil {
			return err
		}
		d, err := root.MkdirAll(path.Clean("/"+dir), 0o755, uid, gid)
		if err != nil {
			return fmt.Errorf("mkdir %s: %w", dir, err)
		}
		return d.Close()
	})
}

// Seal turns the workspace into a stored layer that bears key as a storage name, and ends the workspace.
// The layer is there even if nothing was changed. If an equal layer exists that one is returned, with the
// key added to it.
func (w *Workspace) Seal(ctx context.Context, key string, o LayerOptions) (*Layer, error) {
	lo := w.s.stepOptions(key, o.Output)
	lo.Move, lo.Since = true, w.since
	if w.fresh != nil {
		res, err := w.fresh.Commit(ctx, lo)
		return w.sealed(res, err)
	}
	rec, err := w.s.st.Layer(w.layer)
	if err != nil {
		return nil, err
	}
	res, err := layer.Commit(ctx, w.s.st, w.layer, rec.Parent, lo)
	return w.sealed(res, err)
}

// SealOver is Seal for a workspace over nothing: all that is in it becomes a layer over parent, with the same diff over every
// parent but none.
func (w *Workspace) SealOver(ctx context.Context, key, parent string, o LayerOptions) (*Layer, error) {
	lo := w.s.stepOptions(key, o.Output)
	var res layer.Result
	err := w.mounted(func(dir string) (err error) { res, err = layer.Tree(ctx, w.s.st, dir, parent, lo); return err })
	return w.sealed(res, err)
}

// Restack stores the diff of a layer, which no key but key names, over another parent.
func (s *Store) Restack(ctx context.Context, l *Layer, key, parent string) (*Layer, error) {
	if l.Parent == parent {
		return l, nil
	}
	if _, err := s.layerByID(layer.ID(parent, l.DiffID)); errors.Is(err, ErrNoLayer) {
		if err := s.keepTime(layer.ID(parent, l.DiffID), l.Created); err != nil { // the step was done then
			return nil, err
		}
	}
	res, err := layer.Restack(ctx, s.st, l.ID, parent, s.stepOptions(key, Output{}))
	if err == nil && res.DiffID != l.DiffID {
		err = fmt.Errorf("it became %s instead of %s", res.DiffID, l.DiffID)
	}
	if err != nil {
		return nil, fmt.Errorf("putting layer %s over another: %w", l.ID, err)
	}
	return s.layerByID(res.ID)
}

// stepOptions are those of the layer of a step, which is noted before it is made: it may be without a key.
func (s *Store) stepOptions(key string, o Output) layer.Options {
	lo := s.layerOptions(o)
	lo.AllowEmpty = true
	lo.Claim = func(l layer.Claimed) error {
		if !l.There {
			s.made.Store(l.ID, nil)
		}
		return s.noteMade(l.ID)
	}
	if key != "" {
		lo.Names = []string{layerName(key)}
	}
	return lo
}

// sealed ends a workspace that was stored.
func (w *Workspace) sealed(res layer.Result, err error) (*Layer, error) {
	if err != nil {
		return nil, errors.Join(fmt.Errorf("storing the layer: %w", err), w.Discard())
	}
	if err := w.Discard(); err != nil {
		return nil, err
	}
	return w.s.layerByID(res.ID)
}

// Discard deletes the workspace. It may be called more than once.
func (w *Workspace) Discard() error {
	if w.fresh != nil {
		return w.fresh.Discard()
	}
	if w.alive == nil {
		return nil
	}
	alive := w.alive
	w.alive = nil
	w.s.makeRoom()
	if err := w.s.deleteUnmounted(w.layer); err != nil {
		return errors.Join(err, alive.Close()) // the mark stays: the next start tries again
	}
	return alive.Remove()
}

// layerOptions are those that an output's reproducibility settings mean for a layer (containers.md §11.5).
func (s *Store) layerOptions(o Output) layer.Options {
	lo := layer.Options{Epoch: o.Timestamp, Ownership: s.own, TempDir: s.o.TempDir, Stage: s.noteStaging}
	if o.Rewrite && o.Timestamp == nil {
		lo.Clamp = o.Epoch
	}
	return lo
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/state"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
)

// A Container is a working container: a [Workspace] with a name and a record that other tools of the
// family read and write too (containers.md §3). Its record is locked only while it is being changed, so several
// commands may use it at the same time; what a command saw may have changed since.
type Container struct {
	Workspace
	id    string
	names []string
	image string // storage ID of the base, empty for scratch
	dir   string // the container's directory in storage
	rec   *state.Record
}

// Container finds a working container by name, ID or unique ID prefix. One that another tool made is
// adopted: its image's configuration becomes its own (containers.md §3). The error is ErrNoContainer.
func (s *Store) Container(nameOrID string) (*Container, error) {
	rec, err := s.st.Container(nameOrID)
	if err != nil {
		err = fmt.Errorf("reading build container %q: %w", nameOrID, translate(err))
		if _, ierr := s.findImage(nameOrID); ierr == nil && errors.Is(err, ErrNoContainer) { // "run IMAGE" is what other tools have
			err = fmt.Errorf("%w: that is an image, of which \"from\" makes a container", err)
		}
		return nil, err
	}
	return s.container(rec)
}

func (s *Store) container(rec *storage.Container) (*Container, error) {
	dir, err := s.st.ContainerDirectory(rec.ID)
	if err != nil {
		return nil, fmt.Errorf("reading container %s: %w", rec.ID, translate(err))
	}
	c := &Container{id: rec.ID, names: rec.Names, image: rec.ImageID, dir: dir}
	c.s, c.layer, c.mount, c.notes, c.users = s, rec.LayerID, rec.ID, dir, idsOf(rec.UIDMap, rec.GIDMap)
	err = c.load()
	if errors.Is(err, fs.ErrNotExist) {
		err = c.adopt(rec)
	}
	if err != nil {
		return nil, fmt.Errorf("reading container %s: %w", c.Name(), err)
	}
	return c, nil
}

// load reads the record.
func (c *Container) load() error {
	rec, err := state.Load(c.dir)
	if err != nil {
		return err
	}
	cfg, err := rec.Image()
	if err != nil {
		return err
	}
	c.rec, c.cfg = rec, cfg
	c.about = about{
		name: c.Name(), id: c.id, image: rec.FromImage, imageID: rec.FromImageID,
		mountLabel: rec.MountLabel, processLabel: rec.ProcessLabel, mountsFile: rec.DefaultMountsFilePath,
	}
	c.ownUsers, c.join = c.users != nil || rec.OwnUsers(), rec.JoinedUsers()
	c.o, c.defaults = WorkspaceOptions{Sandbox: sandbox(rec)}, true
	return nil
}

// Format is what the container's commits make where nothing else is asked for.
func (c *Container) Format() Format { return Format(c.rec.PreferredFormat()) }

// An Edit is what one `config` does to a container. The zero value does nothing.
type Edit struct {
	Changes []config.Change
	// CreatedBy and HistoryComment are what the next commit's history says of its layer; nil leaves them as they are.
	CreatedBy, HistoryComment *string
	// History are texts of entries without a layer, put before the next commit's (containers.md §11.3).
	History []string
}

// Edit changes the container and saves it: everything, or nothing when a change fails.
func (c *Container) Edit(e Edit) error {
	return c.update(func() error {
		if err := c.Workspace.Configure(e.Changes...); err != nil {
			return err
		}
		if e.CreatedBy != nil {
			c.rec.ImageCreatedBy = *e.CreatedBy
		}
		if e.HistoryComment != nil {
			c.rec.HistoryComment = *e.HistoryComment
		}
		now := c.s.o.Now().UTC()
		for _, by := range e.History {
			c.rec.PrependedEmptyLayers = append(c.rec.PrependedEmptyLayers, config.History{Created: &now, CreatedBy: by, EmptyLayer: true})
		}
		return nil
	})
}

// Configure edits the configuration and saves it: all of the changes, or none when one fails.
func (c *Container) Configure(changes ...config.Change) error {
	return c.Edit(Edit{Changes: changes})
}

// update runs edit on the freshly read record, under its lock, and saves the result.
func (c *Container) update(edit func() error) error {
	lock, err := flock.Acquire(filepath.Join(c.dir, "slipway.lock"), flock.Exclusive)
	if err != nil {
		return fmt.Errorf("locking container %s: %w", c.Name(), err)
	}
	defer lock.Close()
	if err := c.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := edit(); err != nil {
		return err
	}
	return c.save()
}

func (c *Container) save() error {
	if err := c.rec.SetImage(c.cfg); err != nil {
		return err
	}
	if err := c.rec.Save(c.dir); err != nil {
		return fmt.Errorf("saving container %s: %w", c.Name(), err)
	}
	return nil
}

// hold keeps the container from being removed for as long as the lock is open. To remove it needs the
// lock for itself: ErrInUse says that a command is running (decisions.md §1.4).
func (c *Container) hold(removing bool) (*flock.Lock, error) {
	mode := flock.Shared
	if removing {
		mode = flock.Exclusive
	}
	lock, err := flock.Try(filepath.Join(c.dir, "slipway.use"), mode)
	if errors.Is(err, flock.ErrLocked) {
		return nil, fmt.Errorf("container %s is %w", c.Name(), ErrInUse)
	}
	return lock, err
}

// Run is [Workspace.Run]; the container cannot be removed meanwhile.
func (c *Container) Run(ctx context.Context, argv []string, o RunOptions) error {
	return c.using(func() error { return c.Workspace.Run(ctx, argv, o) })
}

// Copy is [Workspace.Copy]; the container cannot be removed meanwhile.
func (c *Container) Copy(ctx context.Context, dest string, src source.Source, o CopyOptions) (content copier.Content, err error) {
	err = c.using(func() error { content, err = c.Workspace.Copy(ctx, dest, src, o); return err })
	return content, err
}

// View is [Workspace.View]; the container cannot be removed meanwhile.
func (c *Container) View(f func(*rootfs.Root) error) error {
	return c.using(func() error { return c.Workspace.View(f) })
}

func (c *Container) using(f func() error) error {
	hold, err := c.hold(false)
	if err != nil {
		return err
	}
	defer hold.Close()
	return f()
}

// ID is the storage ID, 64 hex digits.
func (c *Container) ID() string { return c.id }

// Name is the container's first name.
func (c *Container) Name() string {
	if len(c.names) == 0 {
		return c.id
	}
	return c.names[0]
}

// FromImage is the reference of the base as it was resolved, FromImageID its storage ID; both are empty for scratch.
func (c *Container) FromImage() string { return c.rec.FromImage }

// FromImageID is the storage ID of the base image.
func (c *Container) FromImageID() string { return c.rec.FromImageID }

// Mount mounts the root file system and returns where. It stays mounted until as many calls of Unmount (containers.md §6).
func (c *Container) Mount() (string, error) {
	var dir string
	err := c.update(func() (err error) {
		if dir, err = c.s.st.Mount(c.id, c.rec.MountLabel); err != nil {
			return fmt.Errorf("mounting container %s: %w", c.Name(), err)
		}
		c.rec.MountPoint = dir
		return nil
	})
	return dir, err
}

// Unmount takes back one Mount. It tells whether the container had been mounted.
func (c *Container) Unmount() (bool, error) {
	was := false
	err := c.update(func() error {
		n, err := c.s.st.Mounted(c.id)
		if err != nil || n == 0 {
			return translate(err)
		}
		was = true
		if _, err := c.s.st.Unmount(c.id, false); err != nil {
			return fmt.Errorf("unmounting container %s: %w", c.Name(), err)
		}
		c.rec.MountPoint = ""
		return nil
	})
	return was, err
}

// MountPoint is where the container is mounted; empty if it is not.
func (c *Container) MountPoint() (string, error) {
	rec, err := c.s.st.Layer(c.layer)
	if err != nil || rec.MountCount == 0 {
		return "", translate(err)
	}
	return rec.MountPoint, nil
}

// Rename gives the container another name; the error is ErrNameInUse if a container has it already.
func (c *Container) Rename(name string) error {
	if name == "" {
		return errors.New("renaming a container: the new name must not be empty")
	}
	if name == c.Name() {
		return errors.New("renaming a container with the same name as its current name")
	}
	if other, err := c.s.st.Container(name); err == nil && slices.Contains(other.Names, name) {
		return fmt.Errorf("the container name %q is already in use by container %q: %w", name, other.ID, ErrNameInUse)
	}
	return c.update(func() error {
		if err := c.s.st.SetNames(c.id, []string{name}); err != nil {
			return fmt.Errorf("renaming container %s: %w", c.Name(), translate(err))
		}
		c.names, c.rec.Container = []string{name}, name
		return nil
	})
}

// Remove unmounts and deletes the container; the error is ErrInUse while a command runs in it.
func (c *Container) Remove() error {
	hold, err := c.hold(true)
	if err != nil {
		return err
	}
	defer hold.Close()
	moved, err := layer.Moved(c.s.st, c.layer)
	if err != nil {
		c.s.o.Log.Debug("looking for moved files before removal", "container", c.id, "error", err) // damaged ones go too
	}
	if moved == "" {
		return c.remove()
	}
	return c.removeMoved(moved)
}

// removeMoved removes the container and the layer that has its files now, as a commit was killed before there was an image.
func (c *Container) removeMoved(id string) error {
	claim := c.s.claim(committing)
	layers, err := layer.Lock(c.s.st, flock.Acquire)
	if err != nil {
		return err
	}
	if err := errors.Join(claim.add(layer.Claimed{ID: id}), layers.Close()); err != nil {
		return err
	}
	err = c.remove()
	return errors.Join(err, claim.end(err == nil))
}

func (c *Container) remove() error {
	c.s.makeRoom()
	if _, err := c.s.st.Unmount(c.id, true); err != nil && !errors.Is(err, storage.ErrLayerNotMounted) {
		c.s.o.Log.Debug("unmounting before removal", "container", c.id, "error", err)
	}
	if err := withDeepTrees(func() error { return c.s.st.DeleteContainer(c.id) }); err != nil {
		return fmt.Errorf("removing container %s: %w", c.Name(), translate(err))
	}
	return nil
}

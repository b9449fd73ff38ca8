package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/state"
)

// Containers lists the working containers, oldest first; with all, also storage containers that other
// tools made and that have no record of the family.
func (s *Store) Containers(all bool) ([]ContainerInfo, error) {
	recs, err := s.allContainers()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(recs, func(a, b storage.Container) int { return a.Created.Compare(b.Created) })
	var list []ContainerInfo
	for i := range recs {
		info := s.containerInfo(&recs[i])
		if info.Working || all {
			list = append(list, info)
		}
	}
	return list, nil
}

// ContainerInfo is what lists show of a container.
type ContainerInfo struct {
	ID, Name string
	// Working tells that the container has a record of the family: it was made by Slipway or a relative.
	Working bool
	// ImageID and ImageName are the base's; ImageName is "scratch" for none.
	ImageID, ImageName string
	// MountPoint is empty when the container is not mounted.
	MountPoint string
}

func (s *Store) containerInfo(rec *storage.Container) ContainerInfo {
	info := ContainerInfo{ID: rec.ID, ImageID: rec.ImageID}
	if len(rec.Names) > 0 {
		info.Name = rec.Names[0]
	}
	if dir, err := s.st.ContainerDirectory(rec.ID); err == nil {
		if r, err := state.Load(dir); err == nil {
			info.Working, info.ImageName = true, r.FromImage
		}
	}
	if rec.ImageID == "" {
		info.ImageName = Scratch
	} else if info.ImageName == "" {
		if img, err := s.st.Image(rec.ImageID); err == nil {
			info.ImageName = s.bestName(img, "")
		}
	}
	if l, err := s.st.Layer(rec.LayerID); err == nil && l.MountCount > 0 {
		info.MountPoint = l.MountPoint
	}
	return info
}

// Removed tells what RemoveImage did.
type Removed struct {
	// Untagged names were taken off an image, Deleted images are gone (IDs).
	Untagged, Deleted []string
}

// RemoveOptions says what may go with an image.
type RemoveOptions struct {
	// Names are all the names of an image given by ID; without, one that has several stays.
	Names bool
	// Containers are our own working containers that use the image; those of other tools are never touched.
	Containers bool
}

// RemoveImage removes a name from an image, and the image with it when that was its last one; an image given by ID is deleted. Cached
// steps stay. The error is ErrNoImage or ErrImageInUse.
func (s *Store) RemoveImage(ctx context.Context, nameOrID string, o RemoveOptions) (Removed, error) {
	rec, err := s.findImage(nameOrID)
	if err != nil {
		return Removed{}, err
	}
	if r, done, err := s.untag(rec, nameOrID, o.Names); done {
		return r, err
	}
	if err := s.freeImage(rec, o.Containers); err != nil {
		return Removed{}, err
	}
	_, between, err := s.Dangling()
	if err != nil {
		return Removed{}, err
	}
	below, err := s.Layers(rec.TopLayer)
	if err != nil && !errors.Is(err, ErrNoLayer) {
		return Removed{}, err
	}
	if err := s.deleteImage(ctx, rec); err != nil {
		return Removed{}, err
	}
	parents, err := s.removeParents(ctx, below, between)
	return Removed{Untagged: rec.Names, Deleted: append([]string{rec.ID}, parents...)}, err
}

// removeParents deletes the nameless images that only the image just deleted was built on: those between that are
// dangling now, as long as no container uses them (cli.md §10.5).
func (s *Store) removeParents(ctx context.Context, below []*Layer, between map[string]bool) ([]string, error) {
	if len(between) == 0 {
		return nil, nil
	}
	layers := map[string]bool{}
	for _, l := range below {
		layers[l.ID] = true
	}
	var gone []string
	for {
		dangling, _, err := s.Dangling()
		if err != nil {
			return gone, err
		}
		var found *storage.Image
		for id := range dangling {
			rec, err := s.st.Image(id)
			if err == nil && between[id] && layers[rec.TopLayer] && !rec.ReadOnly && s.freeImage(rec, false) == nil {
				found = rec
			}
		}
		if found == nil {
			return gone, nil
		}
		if err := s.deleteImage(ctx, found); err != nil {
			return gone, err
		}
		gone = append(gone, found.ID)
	}
}

// namesTyped returns the name among the image's that the user meant, as it was found by that; none when an ID was given.
func (s *Store) namesTyped(rec *storage.Image, typed string) []string {
	_, typed = splitStore(typed)
	if id, ok := imageID(typed); ok && strings.HasPrefix(rec.ID, id) {
		return nil
	}
	if named, err := s.bears(rec, typed); err == nil && named != nil {
		return []string{named.String()}
	}
	return nil
}

// untag takes off an image or list the name that it was called by, if it has others. done says that nothing else is to be done: with
// an ID all names go, which all must allow if there are several.
func (s *Store) untag(rec *storage.Image, typed string, all bool) (r Removed, done bool, err error) {
	names := s.namesTyped(rec, typed)
	if len(names) > 0 && len(rec.Names) > len(names) {
		return Removed{Untagged: names}, true, translate(s.st.RemoveNames(rec.ID, names))
	}
	if len(names) == 0 && len(rec.Names) > 1 && !all {
		return Removed{}, true, fmt.Errorf("unable to delete image %q by ID with more than one tag (%s): use force removal", rec.ID, strings.Join(rec.Names, ", "))
	}
	return Removed{}, false, nil
}

// freeImage refuses to go on while containers use the image, or removes ours when forced to.
func (s *Store) freeImage(rec *storage.Image, force bool) error {
	all, err := s.allContainers()
	if err != nil {
		return err
	}
	for i := range all {
		if all[i].ImageID != rec.ID {
			continue
		}
		if !force || !s.containerInfo(&all[i]).Working {
			return fmt.Errorf("image used by %s: %w: consider listing external containers and force-removing image", all[i].ID, ErrImageInUse)
		}
		c, err := s.container(&all[i])
		if err != nil {
			return err
		}
		if err := c.Remove(); err != nil {
			return err
		}
	}
	return nil
}

// deleteImage deletes an image and the layers that only it has, but not the steps among them that builds find by a key, nor what
// those stand on: the cache outlives the names of images and has limits of its own (decisions.md §2.5).
func (s *Store) deleteImage(ctx context.Context, rec *storage.Image) error {
	release := func() error { return nil }
	if s.Driver() != "vfs" { // there, a layer on another one is a copy of it: holding one would double what is to be freed
		release = s.holdLayer(ctx, s.topStep(rec.TopLayer))
	}
	return errors.Join(s.deleteRecord(rec.ID), release())
}

// deleteRecord deletes an image or list, and the layers that only it has.
func (s *Store) deleteRecord(id string) error {
	s.makeRoom()
	if err := withDeepTrees(func() error { _, err := s.st.DeleteImage(id, true); return err }); err != nil {
		return fmt.Errorf("deleting image %s: %w", id, translate(err))
	}
	return nil
}

// topStep is the highest of a chain of layers that a key names, "" if there is none.
func (s *Store) topStep(top string) string {
	for id := top; id != ""; {
		rec, err := s.st.Layer(id)
		if err != nil {
			return ""
		}
		if slices.ContainsFunc(rec.Names, func(n string) bool { return strings.HasPrefix(n, layerName("")) }) {
			return id
		}
		id = rec.Parent
	}
	return ""
}

// holdLayer keeps a layer until the caller releases it. Storage deletes an image's layers that nothing stands on, so something
// does. What can not be held is not: an image must go from a full disk too, and a cached step that is gone is a miss.
func (s *Store) holdLayer(ctx context.Context, id string) (release func() error) {
	if id == "" {
		return func() error { return nil }
	}
	w, err := s.NewWorkspace(ctx, id, config.New("", "", ""), WorkspaceOptions{})
	if err != nil {
		s.o.Log.Debug("a cached step goes with its image", "layer", id, "error", err)
		return func() error { return nil }
	}
	return w.Discard
}

// RemoveUnnamed deletes an image or list that has no name, and the images of the list that have none: what was made on the way to
// somewhere else. What a container uses stays, what a list is made of, and the layers: builds find them in the cache.
func (s *Store) RemoveUnnamed(ctx context.Context, id string) error {
	img, err := s.Image(id)
	if err != nil || len(img.Names()) > 0 {
		return err
	}
	ids := []string{}
	if x := img.Index(); x != nil {
		if err := s.deleteRecord(id); err != nil {
			return err
		}
		for _, place := range x.where {
			ids = append(ids, localImage(place))
		}
	} else {
		ids = append(ids, id)
	}
	images, err := s.allImages()
	if err != nil {
		return err
	}
	listed := s.listed(images)
	for i := range images {
		if rec := &images[i]; slices.Contains(ids, rec.ID) && !listed[rec.ID] && len(rec.Names) == 0 {
			if err := s.dropRecord(ctx, s.image(rec)); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropRecord deletes an image made on the way to somewhere else, and leaves its layers.
func (s *Store) dropRecord(ctx context.Context, img *Image) error {
	release := s.holdLayer(ctx, img.TopLayer())
	return errors.Join(s.dropUnnamed(img), release())
}

// dropUnnamed deletes an image made on the way to somewhere else.
func (s *Store) dropUnnamed(img *Image) error {
	err := s.deleteRecord(img.ID())
	if errors.Is(err, storage.ErrImageUsedByContainer) {
		return nil
	}
	return err
}

// listed are the images that lists are made of.
func (s *Store) listed(images []storage.Image) map[string]bool {
	ids := map[string]bool{}
	for i := range images {
		if images[i].TopLayer != "" {
			continue
		}
		x, err := s.index(&images[i])
		if err != nil {
			continue // an image without layers
		}
		for _, place := range x.where {
			ids[localImage(place)] = true
		}
	}
	return ids
}

// Dangling tells which images have no name, no image built on them and no list that they are in. Image IDs map to whether they are intermediate:
// nameless with children.
func (s *Store) Dangling() (dangling, intermediate map[string]bool, err error) {
	images, err := s.allImages()
	if err != nil {
		return nil, nil, err
	}
	layers, err := s.allLayers()
	if err != nil {
		return nil, nil, err
	}
	parent := make(map[string]string, len(layers))
	for i := range layers {
		parent[layers[i].ID] = layers[i].Parent
	}
	below := map[string]bool{} // layers that lie under the top layer of some image
	for i := range images {
		for id := parent[images[i].TopLayer]; id != ""; id = parent[id] {
			below[id] = true
		}
	}
	dangling, intermediate = map[string]bool{}, map[string]bool{}
	listed := s.listed(images)
	for i := range images {
		if len(images[i].Names) > 0 || listed[images[i].ID] {
			continue
		}
		if below[images[i].TopLayer] {
			intermediate[images[i].ID] = true
		} else {
			dangling[images[i].ID] = true
		}
	}
	return dangling, intermediate, nil
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/userns"
)

// An Image is an image in local storage. It is a snapshot of the record: names may have moved since.
type Image struct {
	s   *Store
	rec storage.Image
}

func (s *Store) image(rec *storage.Image) *Image { return &Image{s: s, rec: *rec} }

// Image finds a local image by name, ID, unique ID prefix or containers-storage: reference; the error is ErrNoImage.
func (s *Store) Image(nameOrID string) (*Image, error) {
	rec, err := s.findImage(nameOrID)
	if err != nil {
		return nil, err
	}
	return s.image(rec), nil
}

// Images returns all images in local storage, newest first.
func (s *Store) Images() ([]*Image, error) {
	recs, err := s.allImages()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(recs, func(a, b storage.Image) int { return b.Created.Compare(a.Created) })
	all := make([]*Image, len(recs))
	for i := range recs {
		all[i] = s.image(&recs[i])
	}
	return all, nil
}

// ID is the image's identity: the hex digest of its configuration.
func (i *Image) ID() string { return i.rec.ID }

// Digest is that of the manifest; empty for images stored without one.
func (i *Image) Digest() digest.Digest {
	if d := i.rec.BigDataDigests[storage.ImageDigestBigDataKey]; d != "" {
		return d // the record's own stays that of the manifest written first
	}
	return i.rec.Digest
}

// Digests are those of all manifests the image is known under.
func (i *Image) Digests() []digest.Digest { return i.rec.Digests }

// Named is the name that the image has by what the user typed, else one that contains it, else its first one; "" if it has none
// (containers.md §5).
func (i *Image) Named(typed string) string {
	return i.s.bestName(&i.rec, strings.TrimPrefix(typed, "docker://"))
}

// Names are full references, "registry/repository:tag".
func (i *Image) Names() []string { return i.rec.Names }

// FormerNames are those that the image has had and has no more, newest first.
func (i *Image) FormerNames() []string {
	return slices.DeleteFunc(slices.Clone(i.rec.NamesHistory), func(name string) bool { return slices.Contains(i.rec.Names, name) })
}

// Created is when the image says it was made.
func (i *Image) Created() time.Time { return i.rec.Created.UTC() }

// TopLayer is the storage ID of the topmost layer; empty for images without layers.
func (i *Image) TopLayer() string { return i.rec.TopLayer }

// ReadOnly tells whether the image is in an additional, read-only store.
func (i *Image) ReadOnly() bool { return i.rec.ReadOnly }

// Size is in bytes, of all layers uncompressed plus the image's own data.
func (i *Image) Size() (int64, error) { return i.s.st.ImageSize(i.rec.ID) }

// Manifest returns the raw manifest and its media type.
func (i *Image) Manifest(ctx context.Context) ([]byte, string, error) {
	ref, err := i.s.storageRef(i.rec.ID)
	if err != nil {
		return nil, "", err
	}
	src, err := ref.NewImageSource(ctx, &i.s.sys)
	if err != nil {
		return nil, "", fmt.Errorf("reading image %s: %w", i.rec.ID, err)
	}
	defer src.Close()
	return image.UnparsedInstance(src, nil).Manifest(ctx)
}

// RawConfig returns the configuration blob as stored, whatever its schema.
func (i *Image) RawConfig(ctx context.Context) ([]byte, error) {
	if blob, err := i.s.st.ImageBigData(i.rec.ID, "sha256:"+i.rec.ID); err == nil {
		return blob, nil
	}
	ref, err := i.s.storageRef(i.rec.ID)
	if err != nil {
		return nil, err
	}
	img, err := ref.NewImage(ctx, &i.s.sys)
	if err != nil {
		return nil, fmt.Errorf("reading image %s: %w", i.rec.ID, err)
	}
	defer img.Close()
	oci, err := img.ConfigBlob(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading configuration of image %s: %w", i.rec.ID, err)
	}
	return oci, nil
}

// Config returns the image's configuration with the manifest's annotations, if it is an OCI one.
func (i *Image) Config(ctx context.Context) (*config.Image, error) {
	blob, err := i.RawConfig(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Parse(blob)
	if err != nil {
		return nil, fmt.Errorf("configuration of image %s: %w", i.rec.ID, err)
	}
	raw, _, err := i.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Annotations = annotations(raw)
	return cfg, nil
}

// Open gives read access to the image's file system in place. The caller calls the returned function when done.
func (i *Image) Open() (*rootfs.Root, func() error, error) {
	if i.rec.TopLayer == "" {
		return i.s.emptyRoot()
	}
	if userns.Current() == userns.None { // storage would make a copy without the maps that it notes for layers here, by means that are refused
		root, done, err := i.s.openLayer(i.rec.TopLayer)
		if !errors.Is(err, storage.ErrStoreIsReadOnly) {
			return root, done, err
		}
	}
	dir, err := i.s.st.MountImage(i.rec.ID, nil, "")
	if err != nil {
		return nil, nil, fmt.Errorf("mounting image %s: %w", i.rec.ID, err)
	}
	unmount := func() error { _, err := i.s.st.UnmountImage(i.rec.ID, false); return err }
	root, err := rootfs.Open(dir, i.s.own)
	if err != nil {
		return nil, nil, errors.Join(err, unmount())
	}
	return root, func() error { return errors.Join(root.Close(), unmount()) }, nil
}

// Tag adds names to an image; a name that another image has moves.
func (s *Store) Tag(nameOrID string, names ...string) error {
	img, err := s.findImage(nameOrID)
	if err != nil {
		return err
	}
	full, err := s.localNames(names)
	if err != nil {
		return err
	}
	return translate(s.st.AddNames(img.ID, full))
}

// Untag removes names from an image, which stays; without names it removes all.
func (s *Store) Untag(nameOrID string, names ...string) error {
	img, err := s.findImage(nameOrID)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return translate(s.st.RemoveNames(img.ID, img.Names))
	}
	var full []string
	for _, name := range names {
		named, err := s.bears(img, strings.TrimPrefix(name, storagePrefix))
		if err != nil {
			return err
		}
		if named == nil {
			return fmt.Errorf("%s is no name of image %s: it has %s", name, nameOrID, first(strings.Join(img.Names, ", "), "none"))
		}
		full = append(full, named.String())
	}
	return translate(s.st.RemoveNames(img.ID, full))
}

// localNames are names as local storage keeps them. They may be written containers-storage:[STORE]NAME.
func (s *Store) localNames(names []string) ([]string, error) {
	full := make([]string, 0, len(names))
	for _, name := range names {
		own, err := s.ownName(name)
		if err != nil {
			return nil, err
		}
		named, err := localName(own)
		if err != nil {
			return nil, fmt.Errorf("tag %w", err)
		}
		if _, ok := named.(reference.Digested); ok { // it would say of the image what is not so
			return nil, fmt.Errorf("%s: tag by digest not supported: leave out what begins with @", name)
		}
		full = append(full, named.String())
	}
	return full, nil
}

// bestName is the name that an image has by what the user typed, else the one that contains it, else its first one
// (containers.md §5).
func (s *Store) bestName(rec *storage.Image, typed string) string {
	if names := s.namesTyped(rec, typed); len(names) > 0 {
		return names[0]
	}
	for _, n := range rec.Names {
		if typed != "" && strings.Contains(n, typed) {
			return n
		}
	}
	if len(rec.Names) > 0 {
		return rec.Names[0]
	}
	return ""
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// A Layer is a sealed layer in storage: that of an image, or a cached step of a build.
type Layer struct {
	ID, Parent string
	DiffID     digest.Digest
	// Size is that of the uncompressed tar, in bytes.
	Size int64
	// Created is when the layer was stored: the time of the step that made it.
	Created time.Time
}

// layerName is the storage name of a cached step: look-up is one access however full the store
// (design.md §3). Other tools may delete it; that is a miss.
func layerName(key string) string { return "slipway:" + key }

// Layer finds the layer of a cached step by its key; the error is ErrNoLayer.
func (s *Store) Layer(key string) (*Layer, error) { return s.layerByID(layerName(key)) }

// LayerByID finds a layer by its ID; the error is ErrNoLayer.
func (s *Store) LayerByID(id string) (*Layer, error) { return s.layerByID(id) }

func (s *Store) layerByID(id string) (*Layer, error) {
	rec, err := s.st.Layer(id)
	if err != nil {
		if errors.Is(err, storage.ErrLayerUnknown) {
			return nil, ErrNoLayer
		}
		return nil, fmt.Errorf("looking up layer %s: %w", id, err)
	}
	return &Layer{ID: rec.ID, Parent: rec.Parent, DiffID: rec.UncompressedDigest, Size: rec.UncompressedSize, Created: s.keptTime(rec.ID, rec.Created)}, nil
}

// Layers returns the chain of layers that ends in top, lowest first.
func (s *Store) Layers(top string) ([]*Layer, error) {
	var chain []*Layer
	for id := top; id != ""; {
		l, err := s.layerByID(id)
		if err != nil {
			return nil, err
		}
		chain = append(chain, l)
		id = l.Parent
	}
	slices.Reverse(chain)
	return chain, nil
}

// OpenLayer gives read access to the file system of a sealed layer and those below it; "" is an empty
// one. The caller calls the returned function when done.
func (s *Store) OpenLayer(_ context.Context, id string) (*rootfs.Root, func() error, error) {
	if id == "" {
		return s.emptyRoot()
	}
	return s.openLayer(id)
}

func (s *Store) openLayer(id string) (*rootfs.Root, func() error, error) {
	dir, err := s.st.Mount(id, "")
	if err != nil {
		return nil, nil, fmt.Errorf("mounting layer %s: %w", id, err)
	}
	unmount := func() error { _, err := s.st.Unmount(id, false); return err }
	root, err := rootfs.Open(dir, s.own)
	if err != nil {
		return nil, nil, errors.Join(err, unmount())
	}
	return root, func() error { return errors.Join(root.Close(), unmount()) }, nil
}

// emptyRoot is the file system of an image without layers.
func (s *Store) emptyRoot() (*rootfs.Root, func() error, error) {
	dir, err := os.MkdirTemp(s.o.TempDir, "slipway-empty-")
	if err != nil {
		return nil, nil, err
	}
	err = os.Chmod(dir, 0o755) //nolint:gosec // as roots are: a step of any user may list it
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(dir))
	}
	root, err := rootfs.Open(dir, s.own)
	if err != nil {
		return nil, nil, errors.Join(err, os.Remove(dir))
	}
	return root, func() error { return errors.Join(root.Close(), os.Remove(dir)) }, nil
}

// SquashLayer stores the whole file system of a layer and those below it as one layer without a parent.
func (s *Store) SquashLayer(ctx context.Context, top string, o Output) (*Layer, error) {
	if top == "" {
		return nil, errors.New("there is nothing to squash")
	}
	lo := s.layerOptions(o)
	lo.Claim = func(l layer.Claimed) error { return s.noteMade(l.ID) } // it may be without an image in the end: see ForOS
	res, err := layer.Squash(ctx, s.st, top, lo)
	if err != nil {
		return nil, fmt.Errorf("squashing: %w", err)
	}
	return s.layerByID(res.ID)
}

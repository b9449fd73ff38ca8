package builder

import (
	"context"
	"errors"
	"io"

	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/layer"
)

// A localRef is an image in local storage whose layers are read in place. The library would first copy each to a temporary file, so as not to
// hold storage's lock while it is sent.
type localRef struct {
	types.ImageReference
	s   *Store
	rec *storage.Image
}

// inPlace returns what to copy an image in storage from. Signatures other than OpenPGP's pass from the library's own source only.
func (s *Store) inPlace(src types.ImageReference, unsigned bool) types.ImageReference {
	if _, list := src.(indexRef); list {
		return src
	}
	if rec, err := s.pushable(src, unsigned); err == nil {
		return &localRef{src, s, rec}
	}
	return src
}

// NewImageSource opens the image.
func (r *localRef) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	inner, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	chain, err := r.s.Layers(r.rec.TopLayer)
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	src := &localSource{inner, r.s, map[digest.Digest]string{}}
	for _, l := range chain {
		src.layers[l.DiffID] = l.ID
	}
	return src, nil
}

type localSource struct {
	types.ImageSource
	s      *Store
	layers map[digest.Digest]string // IDs, by what LayerInfosForCopy calls them
}

// GetBlob reads a layer, or what else the image has. The library checks the digest of what it reads.
func (l *localSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	if id := l.layers[info.Digest]; id != "" {
		r, err := layer.OpenTar(l.s.st, id)
		if err == nil {
			return r, info.Size, nil
		}
		if !errors.Is(err, layer.ErrIndirect) {
			return nil, 0, err
		}
	}
	return l.ImageSource.GetBlob(ctx, info, cache)
}

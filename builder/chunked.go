package builder

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// A chunkedRef is a source for a push as zstd:chunked: its layers bear the annotations of the blobs that they were sent as before. The
// library gives a blob that is reused the annotations of the layer at the source, and one that it makes those that it makes.
type chunkedRef struct {
	types.ImageReference
	d *blobDest
}

// annotated returns what to copy from to d.
func (d *blobDest) annotated(src types.ImageReference) types.ImageReference {
	if d.format != chunked || d.plain {
		return src
	}
	return chunkedRef{src, d}
}

// NewImageSource opens the source.
func (r chunkedRef) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := r.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &chunkedSource{src, r.d}, nil
}

type chunkedSource struct {
	types.ImageSource
	d *blobDest
}

// LayerInfosForCopy returns the layers, as the source has them, with annotations.
func (s *chunkedSource) LayerInfosForCopy(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	infos, err := s.ImageSource.LayerInfosForCopy(ctx, instance)
	if err != nil {
		return nil, err
	}
	kept := infos
	if infos == nil {
		if infos, err = s.described(ctx, instance); err != nil {
			return nil, err
		}
	}
	for i := range infos {
		b, ok := s.d.sentAs(infos[i].Digest)
		if algorithmOf(infos[i]) != "" || !ok {
			continue
		}
		kept = infos
		infos[i].Annotations = maps.Clone(infos[i].Annotations)
		if infos[i].Annotations == nil {
			infos[i].Annotations = map[string]string{}
		}
		maps.Copy(infos[i].Annotations, b.Annotations)
	}
	return kept, nil
}

// described returns the layers of a manifest; none of a list's.
func (s *chunkedSource) described(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	raw, kind, err := s.GetManifest(ctx, instance)
	if err != nil || manifest.IsIndex(kind) {
		return nil, err
	}
	m, err := cmanifest.FromBlob(raw, kind)
	if err != nil {
		return nil, err
	}
	var infos []types.BlobInfo
	for _, l := range m.LayerInfos() {
		infos = append(infos, l.BlobInfo)
	}
	return infos, nil
}

// sentAs returns the zstd:chunked blob that is the most useful of those that a layer has been sent as: one in the repository, one in the
// registry, the newest.
func (d *blobDest) sentAs(diffID digest.Digest) (best blob, ok bool) {
	repo := d.DockerReference().Name()
	host := reference.Domain(d.DockerReference()) + "/"
	rank := 0
	for _, b := range d.s.blobs(diffID) {
		r := 1
		switch {
		case b.Algorithm != chunked:
			continue
		case slices.Contains(b.Places, repo):
			r = 3
		case slices.ContainsFunc(b.Places, func(p string) bool { return strings.HasPrefix(p, host) }):
			r = 2
		}
		if r >= rank {
			best, ok, rank = b, true, r
		}
	}
	return best, ok
}

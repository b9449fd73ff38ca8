package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker"
	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// An indexRef makes a list in local storage the source of a copy. Its images are read where they are: in storage, in a
// registry, or from files.
type indexRef struct {
	types.ImageReference // of the record in storage
	x                    *Index
}

func (s *Store) indexRef(x *Index) (types.ImageReference, error) {
	ref, err := s.storageRef(x.rec.ID)
	return indexRef{ref, x}, err
}

// repositories are those in registries that images of the list are in.
func (x *Index) repositories() []string {
	var list []string
	for _, place := range x.where {
		ref, err := parseTransport(place)
		if err == nil && ref != nil && ref.Transport().Name() == docker.Transport.Name() {
			list = append(list, ref.DockerReference().Name())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// NewImageSource opens the list. sys must not hold credentials meant for one registry.
func (r indexRef) NewImageSource(_ context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	return &indexSource{ref: r, sys: sys, open: map[string]types.ImageSource{}, blobs: map[digest.Digest]types.ImageSource{}}, nil
}

type indexSource struct {
	ref indexRef
	sys *types.SystemContext

	mu    sync.Mutex
	open  map[string]types.ImageSource        // by place
	blobs map[digest.Digest]types.ImageSource // who has what was named so far
}

// Reference returns what the source was opened by.
func (s *indexSource) Reference() types.ImageReference { return s.ref }

// Close closes what was opened.
func (s *indexSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, src := range s.open {
		errs = append(errs, src.Close())
	}
	return errors.Join(errs...)
}

// GetManifest returns the list itself, or the manifest of an entry.
func (s *indexSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	if instance == nil {
		raw, err := s.ref.x.JSON()
		return raw, s.ref.x.list.MediaType, err
	}
	src, inner, err := s.instance(ctx, *instance)
	if err != nil {
		return nil, "", err
	}
	raw, mediaType, err := src.GetManifest(ctx, inner)
	if err != nil {
		return nil, "", err
	}
	if m, err := cmanifest.FromBlob(raw, mediaType); err == nil {
		infos := []types.BlobInfo{m.ConfigInfo()}
		for _, l := range m.LayerInfos() {
			infos = append(infos, l.BlobInfo)
		}
		s.note(src, infos)
	}
	return raw, mediaType, nil
}

// instance opens the place where an entry's image is, and returns the digest to ask it for: nil for its only one.
func (s *indexSource) instance(ctx context.Context, d digest.Digest) (types.ImageSource, *digest.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := s.ref.x.where[d]
	if art, err := s.ref.x.artifact(d); err == nil {
		return artifactSource{s.ref, art}, nil, nil
	}
	if place == "" {
		return nil, nil, fmt.Errorf("manifest list %s does not say where %s is", s.ref.x.rec.ID, d)
	}
	src, ok := s.open[place]
	if !ok {
		ref, err := s.ref.x.placeRef(place)
		if err != nil {
			return nil, nil, err
		}
		if src, err = ref.NewImageSource(ctx, s.sys); err != nil {
			return nil, nil, fmt.Errorf("entry %s of the manifest list: %w", d, err)
		}
		s.open[place] = src
	}
	if raw, _, err := src.GetManifest(ctx, &d); err == nil && len(raw) > 0 {
		return src, &d, nil
	}
	return src, nil, nil
}

// placeRef reads a place of instances.json.
func (x *Index) placeRef(place string) (types.ImageReference, error) {
	if id := localImage(place); id != "" {
		ref, err := x.s.storageRef(id)
		if err != nil {
			return nil, err
		}
		return x.s.inPlace(ref, true), nil // a list passes OpenPGP's signatures on, and no others
	}
	ref, err := parseTransport(place)
	if err == nil && ref == nil {
		err = fmt.Errorf("manifest list %s names an unknown place: %q", x.rec.ID, place)
	}
	return ref, err
}

func (s *indexSource) note(src types.ImageSource, infos []types.BlobInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range infos {
		if i.Digest != "" {
			s.blobs[i.Digest] = src
		}
	}
}

// GetBlob reads a blob that a manifest named.
func (s *indexSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	src := s.blobs[info.Digest]
	s.mu.Unlock()
	if src == nil {
		return nil, 0, fmt.Errorf("no image of the list has blob %s", info.Digest)
	}
	return src.GetBlob(ctx, info, cache)
}

// HasThreadSafeGetBlob tells the library that it may copy blobs in parallel.
func (s *indexSource) HasThreadSafeGetBlob() bool { return true }

// GetSignatures returns the simple signatures of the list (none) or of an entry.
func (s *indexSource) GetSignatures(ctx context.Context, instance *digest.Digest) ([][]byte, error) {
	if instance == nil {
		return nil, nil
	}
	src, inner, err := s.instance(ctx, *instance)
	if err != nil {
		return nil, err
	}
	return src.GetSignatures(ctx, inner)
}

// LayerInfosForCopy returns the layers as they are kept where the entry is: storage keeps them uncompressed.
func (s *indexSource) LayerInfosForCopy(ctx context.Context, instance *digest.Digest) ([]types.BlobInfo, error) {
	if instance == nil {
		return nil, nil
	}
	src, inner, err := s.instance(ctx, *instance)
	if err != nil {
		return nil, err
	}
	infos, err := src.LayerInfosForCopy(ctx, inner)
	s.note(src, infos)
	return infos, err
}

// An artifactSource reads an artifact's files. The library checks their digests: a file that has changed fails the copy.
type artifactSource struct {
	ref types.ImageReference
	a   *artifact
}

// Reference is that of the list.
func (s artifactSource) Reference() types.ImageReference { return s.ref }

// Close does nothing: files are open only while they are read.
func (s artifactSource) Close() error { return nil }

// GetManifest returns the artifact's manifest.
func (s artifactSource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.a.Manifest, cmanifest.GuessMIMEType(s.a.Manifest), nil
}

// GetBlob opens a file, or the configuration.
func (s artifactSource) GetBlob(_ context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	path, ok := s.a.Files[info.Digest]
	if !ok && info.Digest == digest.FromBytes(s.a.Config) {
		return io.NopCloser(bytes.NewReader(s.a.Config)), int64(len(s.a.Config)), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("reading file of an artifact: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, fi.Size(), nil
}

// HasThreadSafeGetBlob is true: each call opens its own file.
func (s artifactSource) HasThreadSafeGetBlob() bool { return true }

// GetSignatures returns none.
func (s artifactSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

// LayerInfosForCopy says that the manifest's own are right.
func (s artifactSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

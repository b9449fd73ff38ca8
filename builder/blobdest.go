package builder

import (
	"context"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/memory"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// A blobDest is a registry as destination that knows which blobs it has of layers that are here, so that they are neither
// compressed nor sent again: those in the repository are named, those in another repository of the registry are mounted.
// The library would do that with a database of its own, which exists only with cgo.
type blobDest struct {
	types.ImageReference
	s *Store
	// format is the only compression wanted, "" if every one that the manifest can name is good.
	format string
	// plain says that layers go as they are: the library would compress every layer for a registry.
	plain bool
	// exact says that an image goes in several compressions, so that none may take the place of another.
	exact bool
	// from is the source's repository when that is a registry as well.
	from reference.Named
	// places are repositories that images of a list are in.
	places []string

	mu        sync.Mutex
	manifests [][]byte               // as written
	made      map[digest.Digest]bool // blobs that were compressed for it
}

// ifPlain is for sources whose layers the library knows as much about as we do.
func (d *blobDest) ifPlain() *blobDest {
	if d.plain {
		return d
	}
	return nil
}

// NewImageDestination opens the registry.
func (d *blobDest) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	inner, err := d.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return &blobWriter{inner, d}, nil
}

// written returns the manifests that were written, and which blobs were made for them.
func (d *blobDest) written() ([][]byte, map[digest.Digest]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.manifests), maps.Clone(d.made)
}

type blobWriter struct {
	types.ImageDestination
	d *blobDest
}

// DesiredLayerCompression tells the library what to do with layers.
func (w *blobWriter) DesiredLayerCompression() types.LayerCompression {
	if w.d.plain {
		return types.PreserveOriginal
	}
	return w.ImageDestination.DesiredLayerCompression()
}

// PutBlob sends a blob and notes if it was made just now: then nobody knew its digest.
func (w *blobWriter) PutBlob(ctx context.Context, stream io.Reader, info types.BlobInfo, cache types.BlobInfoCache, isConfig bool) (types.BlobInfo, error) {
	got, err := w.ImageDestination.PutBlob(ctx, stream, info, cache, isConfig)
	if err == nil && info.Digest == "" {
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		if w.d.made == nil {
			w.d.made = map[digest.Digest]bool{}
		}
		w.d.made[got.Digest] = true
	}
	return got, err
}

// PutManifest writes a manifest and keeps it for what is to be remembered.
func (w *blobWriter) PutManifest(ctx context.Context, m []byte, instance *digest.Digest) error {
	err := w.ImageDestination.PutManifest(ctx, m, instance)
	if err == nil {
		w.d.mu.Lock()
		w.d.manifests = append(w.d.manifests, m)
		w.d.mu.Unlock()
	}
	return err
}

// TryReusingBlob finds a blob at the destination instead of one that would have to be made from info.
func (w *blobWriter) TryReusingBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache, canSubstitute bool) (bool, types.BlobInfo, error) {
	canSubstitute = canSubstitute && !w.d.plain && !w.d.exact // by another compression
	if w.d.from != nil {
		return w.ImageDestination.TryReusingBlob(ctx, info, w.d.known(info.Digest, algorithmOf(info), []string{w.d.from.Name()}), canSubstitute)
	}
	if alg := algorithmOf(info); !canSubstitute || alg != "" {
		if canSubstitute && w.d.format != "" && alg != w.d.format {
			return false, types.BlobInfo{}, nil
		}
		if alg != "" && len(w.d.places) > 0 {
			cache = w.d.known(info.Digest, alg, w.d.places)
		}
		return w.ImageDestination.TryReusingBlob(ctx, info, cache, canSubstitute)
	}
	for _, b := range slices.Backward(w.d.s.blobs(info.Digest)) {
		if w.d.format != "" && b.Algorithm != w.d.format {
			continue
		}
		alg, err := compression.AlgorithmByName(b.Algorithm)
		if err != nil || b.Algorithm == chunked && !maps.Equal(b.Annotations, chunkedAnnotations(info.Annotations)) {
			continue
		}
		ok, found, err := w.ImageDestination.TryReusingBlob(ctx, types.BlobInfo{Digest: b.Digest, Size: -1}, w.d.known(b.Digest, b.Algorithm, b.Places), false)
		if err != nil {
			return false, found, err
		}
		if ok {
			found.CompressionOperation, found.CompressionAlgorithm = types.Compress, &alg
			return true, found, nil
		}
	}
	return false, types.BlobInfo{}, nil
}

// known is a cache that says where a blob is, which makes the library mount it from there.
func (d *blobDest) known(blob digest.Digest, algorithm string, places []string) types.BlobInfoCache {
	cache := memory.New()
	if algorithm == "" {
		return cache
	}
	host := reference.Domain(d.DockerReference())
	for _, place := range places {
		if strings.HasPrefix(place, host+"/") {
			cache.RecordKnownLocation(docker.Transport, types.BICTransportScope{Opaque: host}, blob, types.BICLocationReference{Opaque: place})
		}
	}
	base, _, _ := strings.Cut(algorithm, ":")
	recordCompression(cache, blob, base)
	return cache
}

// recordCompression tells a cache how a blob is compressed; without that the cache keeps the blob's places to itself. The
// method's parameter has a type of an internal package, so it cannot be called in the ordinary way. If a later version of the library has no
// such method, blobs are uploaded instead of mounted, and a test fails.
func recordCompression(cache types.BlobInfoCache, blob digest.Digest, algorithm string) {
	m := reflect.ValueOf(cache).MethodByName("RecordDigestCompressorData")
	if !m.IsValid() || m.Type().NumIn() != 2 || m.Type().In(1).Kind() != reflect.Struct {
		return
	}
	data := reflect.New(m.Type().In(1)).Elem()
	for field, text := range map[string]string{"BaseVariantCompressor": algorithm, "SpecificVariantCompressor": "unknown"} {
		if f := data.FieldByName(field); f.IsValid() && f.Kind() == reflect.String {
			f.SetString(text)
		}
	}
	m.Call([]reflect.Value{reflect.ValueOf(blob), data})
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// An ociLayout is an image in a directory. The library opens whatever bears the name of a blob, and would wait for ever where that is a pipe;
// it compares neither a manifest with the digest that the index gives, nor a blob's size with the manifest.
type ociLayout struct{ types.ImageReference }

// layoutIndex is the file of a layout that says what is in it.
const layoutIndex = "index.json"

// LayoutIndex reads the index of a layout, the directory dir.
func LayoutIndex(dir string) ([]byte, error) {
	name := filepath.Join(dir, layoutIndex)
	f, err := openPlain(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, manifest.MaxIndex+1))
	if err == nil && len(text) > manifest.MaxIndex {
		err = fmt.Errorf("%s has more than %d bytes", name, manifest.MaxIndex)
	}
	return text, err
}

// StringWithinTransport is what the user wrote: the library adds a colon to what has no name.
func (l ociLayout) StringWithinTransport() string {
	return strings.TrimSuffix(l.ImageReference.StringWithinTransport(), ":")
}

// NewImage opens the image for a look at its configuration.
func (l ociLayout) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	return openImage(ctx, sys, l)
}

// openImage opens what a reference leads to for a look at its configuration.
func openImage(ctx context.Context, sys *types.SystemContext, ref types.ImageReference) (types.ImageCloser, error) {
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	img, err := image.FromSource(ctx, sys, src)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return img, nil
}

// NewImageSource opens the image.
func (l ociLayout) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	src, err := l.ImageReference.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	d, err := layout.LoadManifestDescriptor(l.ImageReference)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return &layoutSource{src, l, localPath(l), d.Digest}, nil
}

type layoutSource struct {
	types.ImageSource
	ref ociLayout
	dir string
	top digest.Digest // of the manifest or list that the reference names
}

// Reference is what policies are about.
func (s *layoutSource) Reference() types.ImageReference { return s.ref }

// GetManifest reads a manifest and checks its digest.
func (s *layoutSource) GetManifest(ctx context.Context, instance *digest.Digest) ([]byte, string, error) {
	want := s.top
	if instance != nil {
		want = *instance
	}
	f, size, err := s.open(want)
	if err != nil {
		return nil, "", err
	}
	if err := f.Close(); err != nil {
		return nil, "", err
	}
	if size > manifest.MaxIndex {
		return nil, "", fmt.Errorf("manifest %s has %d bytes, at most %d are read", want, size, manifest.MaxIndex)
	}
	raw, kind, err := s.ImageSource.GetManifest(ctx, instance)
	if err == nil && want.Algorithm().FromBytes(raw) != want {
		err = fmt.Errorf("manifest %s is damaged: its digest is %s", want, want.Algorithm().FromBytes(raw))
	}
	return raw, kind, err
}

// GetBlob opens a blob. Those that are somewhere else are the library's.
func (s *layoutSource) GetBlob(ctx context.Context, info types.BlobInfo, cache types.BlobInfoCache) (io.ReadCloser, int64, error) {
	f, size, err := s.open(info.Digest)
	if len(info.URLs) > 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, 0, err
		}
		return s.ImageSource.GetBlob(ctx, info, cache)
	}
	if err != nil {
		return nil, 0, err
	}
	if info.Size >= 0 && size != info.Size {
		return nil, 0, errors.Join(fmt.Errorf("the layout is damaged: blob %s has %d bytes, the manifest says %d", info.Digest, size, info.Size), f.Close())
	}
	return f, size, nil
}

// open opens a blob, which must be a regular file or a link to one, and tells its size in bytes.
func (s *layoutSource) open(d digest.Digest) (*os.File, int64, error) {
	if err := d.Validate(); err != nil {
		return nil, 0, fmt.Errorf("digest %q: %w", d, err)
	}
	f, err := openPlain(blobIn(s.dir, d))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

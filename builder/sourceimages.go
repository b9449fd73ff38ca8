package builder

import (
	"context"
	"fmt"
	"os"

	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/sourceimage"
)

// PullSource copies a source image (builder/sourceimage) from a registry, or TRANSPORT:REST, to a directory,
// which must not exist yet.
func (s *Store) PullSource(ctx context.Context, name, dir string, o PushOptions) (digest.Digest, error) {
	src, err := destination(name) // a bare name is a registry's, as for push
	if err != nil {
		return "", err
	}
	if src.Transport().Name() == layout.Transport.Name() {
		src = ociLayout{src}
	}
	if _, err := os.Lstat(dir); err == nil {
		return "", fmt.Errorf("pulling source image: %q already exists", dir)
	}
	err = s.readRemote(ctx, src, o.Registry, func(from types.ImageSource, _ *types.SystemContext) error {
		raw, _, err := image.UnparsedInstance(from, nil).Manifest(ctx)
		if err != nil {
			return err
		}
		return sourceimage.Check(raw)
	})
	if err != nil {
		return "", err
	}
	to, err := transport("oci").ParseReference(dir)
	if err != nil {
		return "", fmt.Errorf("directory %s: %w", dir, err)
	}
	d, err := s.relay(ctx, src, to, o)
	if err != nil {
		return "", err
	}
	return d, sourceimage.Settle(dir)
}

// PushSource copies a source image from a directory to a registry, or TRANSPORT:REST.
func (s *Store) PushSource(ctx context.Context, dir, dest string, o PushOptions) (digest.Digest, error) {
	src, err := transport("oci").ParseReference(dir)
	if err != nil {
		return "", fmt.Errorf("directory %s: %w", dir, err)
	}
	to, err := destination(dest)
	if err != nil {
		return "", err
	}
	return s.relay(ctx, ociLayout{src}, to, o)
}

package builder

import (
	"context"
	"fmt"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Push copies a local image to dest, TRANSPORT:REST or a registry's name, and returns the digest of the
// manifest as it was written there (cli.md §10.3).
func (s *Store) Push(ctx context.Context, nameOrID, dest string, o PushOptions) (digest.Digest, error) {
	img, err := s.findImage(nameOrID)
	if err != nil {
		return "", err
	}
	ref, err := destination(dest)
	if err != nil {
		return "", err
	}
	return s.push(ctx, s.image(img), ref, o, true)
}

// push copies an image out. compressing is whether layers are compressed when o does not say.
func (s *Store) push(ctx context.Context, img *Image, dest types.ImageReference, o PushOptions, compressing bool) (digest.Digest, error) {
	format, err := manifestType(o.Format)
	if err != nil {
		return "", err
	}
	sys, err := s.system(o.Registry, Platform{})
	if err != nil {
		return "", err
	}
	if err := compress(sys, o.Compression, compressing || !isLocalTransport(dest)); err != nil {
		return "", err
	}
	src, err := s.storageRef(img.ID())
	if err != nil {
		return "", err
	}
	if dest, err = named(dest, img); err != nil {
		return "", err
	}
	raw, err := s.transfer(ctx, dest, src, o.Registry, copy.Options{
		SourceCtx: &s.sys, DestinationCtx: sys, ReportWriter: report(o.Report), ForceManifestMIMEType: format,
		ForceCompressionFormat: o.Compression.Force || o.Compression.Format != "",
	})
	if err != nil {
		return "", fmt.Errorf("pushing %s to %s:%s: %w", img.ID()[:12], dest.Transport().Name(), dest.StringWithinTransport(), err)
	}
	return manifest.Digest(raw)
}

// named gives an archive without a name the name of the image, as only this transport's archives lose
// it otherwise (exact.md §6.7).
func named(dest types.ImageReference, img *Image) (types.ImageReference, error) {
	names := img.Names()
	if dest.Transport().Name() != "docker-archive" || dest.DockerReference() != nil || len(names) == 0 {
		return dest, nil
	}
	return dest.Transport().ParseReference(dest.StringWithinTransport() + ":" + names[0])
}

func manifestType(format string) (string, error) {
	switch format {
	case "":
		return "", nil
	case "oci":
		return ispec.MediaTypeImageManifest, nil
	case "v2s2", "docker":
		return manifest.DockerV2Schema2MediaType, nil
	case "v2s1":
		return manifest.DockerV2Schema1SignedMediaType, nil
	}
	return "", fmt.Errorf("unknown format %q. Choose one of the supported formats: 'oci', 'v2s1', or 'v2s2'", format)
}

// CommitTo makes an image of the container and copies it to dest, which is not local storage: a commit,
// then a push; nothing of it stays here that was not here before. It returns the digest of the configuration.
func (c *Container) CommitTo(ctx context.Context, dest string, o CommitOptions) (digest.Digest, error) {
	ref, err := destination(dest)
	if err != nil {
		return "", err
	}
	remove := o.Remove
	o.Remove = false
	img, err := c.Commit(ctx, nil, o)
	if err != nil {
		return "", err
	}
	po := PushOptions{Registry: o.Registry, Compression: o.Output.Compression, Report: o.Report}
	if _, err = c.s.push(ctx, img, ref, po, false); err != nil {
		return "", err
	}
	if len(img.Names()) == 0 {
		if err := c.s.dropUnnamed(img); err != nil {
			return "", err
		}
	}
	if remove {
		return digest.NewDigestFromEncoded(digest.SHA256, img.ID()), c.Remove()
	}
	return digest.NewDigestFromEncoded(digest.SHA256, img.ID()), nil
}

// Destination tells whether text names a place other than local storage, as commit and build read it:
// there, unlike for push, a bare name is local.
func Destination(text string) (remote bool, err error) {
	ref, err := parseTransport(text)
	return ref != nil, err
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// A member is an entry for a list and where its image is, TRANSPORT:REST.
type member struct {
	manifest.Entry
	where string
}

// members finds what each text names: an image in storage, else one elsewhere, of which only JSON is read. A list
// stands for its image for o's platform, or for all of its entries.
func (s *Store) members(ctx context.Context, images []string, o EntryOptions) ([]member, error) {
	var all []member
	for _, text := range images {
		found, err := s.membersOf(ctx, text, o)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (s *Store) membersOf(ctx context.Context, text string, o EntryOptions) ([]member, error) {
	ref, err := parseTransport(text)
	if err != nil {
		return nil, err
	}
	if ref == nil {
		rec, err := s.findImage(text)
		if err == nil {
			return s.localMembers(ctx, s.image(rec), o)
		}
		if !errors.Is(err, ErrNoImage) {
			return nil, err
		}
		if ref, err = registrySource(text); err != nil {
			return nil, err
		}
	}
	return s.remoteMembers(ctx, ref, o)
}

func (s *Store) localMembers(ctx context.Context, img *Image, o EntryOptions) ([]member, error) {
	x := img.Index()
	if x == nil {
		m, err := s.localMember(ctx, img)
		return []member{m}, err
	}
	entries, err := chosen(x.list, o)
	if err != nil {
		return nil, err
	}
	var all []member
	for _, e := range entries {
		all = append(all, member{e, x.where[e.Digest]})
	}
	return all, nil
}

// chosen returns all entries of a list, or the one for o's platform.
func chosen(x *manifest.Index, o EntryOptions) ([]manifest.Entry, error) {
	if o.All {
		return x.Manifests, nil
	}
	e, err := x.Choose(o.Platform.OS, o.Platform.Arch, o.Platform.Variant)
	if err != nil {
		return nil, err
	}
	return []manifest.Entry{*e}, nil
}

func (s *Store) localMember(ctx context.Context, img *Image) (member, error) {
	raw, mediaType, err := img.Manifest(ctx)
	if err != nil {
		return member{}, err
	}
	cfg, err := img.Config(ctx)
	if err != nil {
		return member{}, err
	}
	ref, err := s.storageRef(img.ID())
	if err != nil {
		return member{}, err
	}
	e := manifest.Entry{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), Platform: &manifest.Platform{
		OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant, OSVersion: cfg.OSVersion, OSFeatures: cfg.OSFeatures,
	}}
	return member{e, storagePrefix + ref.StringWithinTransport()}, nil
}

// remoteMembers reads the manifest, and for a single image the configuration, and nothing else.
func (s *Store) remoteMembers(ctx context.Context, ref types.ImageReference, o EntryOptions) ([]member, error) {
	var all []member
	err := s.readRemote(ctx, ref, o.Registry, func(src types.ImageSource, sys *types.SystemContext) error {
		raw, mediaType, err := src.GetManifest(ctx, nil)
		if err != nil {
			return err
		}
		if !manifest.IsIndex(mediaType) {
			m, err := remoteMember(ctx, src, sys, raw, mediaType)
			all = []member{m}
			return err
		}
		x, err := flattened(ctx, src, raw, new(int))
		if err != nil {
			return err
		}
		entries, err := chosen(x, o)
		all = nil
		for _, e := range entries {
			all = append(all, member{e, placeOf(src.Reference(), e.Digest)})
		}
		return err
	})
	return all, err
}

// maxNested is how many lists may be in a list.
const maxNested = 100

// flattened reads a list. The images of lists in it are taken for its own: no transport copies a list in a list. nested
// counts those.
func flattened(ctx context.Context, src types.ImageSource, raw []byte, nested *int) (*manifest.Index, error) {
	x, err := manifest.ParseIndex(raw)
	if err != nil {
		return nil, err
	}
	var all []manifest.Entry
	for _, e := range x.Manifests {
		if !manifest.IsIndex(e.MediaType) {
			all = append(all, e)
			continue
		}
		if *nested++; *nested > maxNested {
			return nil, fmt.Errorf("more than %d lists are in the list", maxNested)
		}
		raw, _, err := src.GetManifest(ctx, &e.Digest)
		if err != nil {
			return nil, fmt.Errorf("reading list %s in the list: %w", e.Digest, err)
		}
		if ok, err := cmanifest.MatchesDigest(raw, e.Digest); !ok || err != nil {
			return nil, errors.Join(fmt.Errorf("list %s in the list is another", e.Digest), err)
		}
		inner, err := flattened(ctx, src, raw, nested)
		if err != nil {
			return nil, err
		}
		all = append(all, inner.Manifests...)
	}
	x.Manifests = all
	return x, nil
}

func remoteMember(ctx context.Context, src types.ImageSource, sys *types.SystemContext, raw []byte, mediaType string) (member, error) {
	d, err := cmanifest.Digest(raw)
	if err != nil {
		return member{}, err
	}
	m := member{manifest.Entry{MediaType: mediaType, Digest: d, Size: int64(len(raw))}, placeOf(src.Reference(), d)}
	img, err := image.FromUnparsedImage(ctx, sys, image.UnparsedInstance(src, nil))
	if err != nil {
		return m, err
	}
	if img.ConfigInfo().MediaType != ispec.MediaTypeImageConfig && mediaType == ispec.MediaTypeImageManifest {
		return m, nil // an artifact has no platform
	}
	cfg, err := img.OCIConfig(ctx)
	if err != nil {
		return m, fmt.Errorf("reading configuration: %w", err)
	}
	m.Platform = &manifest.Platform{
		OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant, OSVersion: cfg.OSVersion, OSFeatures: cfg.OSFeatures,
	}
	return m, nil
}

// placeOf pins where an entry is: what a registry's tag names may change, and the list is used elsewhere than here.
func placeOf(ref types.ImageReference, d digest.Digest) string {
	if named := ref.DockerReference(); named != nil && ref.Transport().Name() == docker.Transport.Name() {
		if c, err := reference.WithDigest(reference.TrimNamed(named), d); err == nil {
			return "docker://" + c.String()
		}
	}
	rest := ref.StringWithinTransport()
	if isLocalTransport(ref) {
		if abs, err := filepath.Abs(rest); err == nil { // what follows the path stays at its end
			rest = abs
		}
	}
	return ref.Transport().Name() + ":" + rest
}

// readRemote opens an image elsewhere for f, retrying after network failures. f may be called more than once.
func (s *Store) readRemote(ctx context.Context, ref types.ImageReference, r Registry, f func(types.ImageSource, *types.SystemContext) error) error {
	sys, err := s.system(r, Platform{})
	if err != nil {
		return err
	}
	if err := exists(ref); err != nil {
		return fmt.Errorf("reading image %q: %w", refText(ref), err)
	}
	if err := s.permit(ref, r, sys); err != nil {
		return err
	}
	err = s.retry(ctx, r, func() error {
		return s.swept(ref, sys, func(sys *types.SystemContext) error {
			src, err := ref.NewImageSource(ctx, sys)
			if err != nil {
				return err
			}
			return errors.Join(f(src, sys), src.Close())
		})
	})
	if err != nil {
		return fmt.Errorf("reading image %q: %w", refText(ref), err)
	}
	return nil
}

// refText is how users write a reference. The library adds a colon to layouts without a name.
func refText(ref types.ImageReference) string {
	return ref.Transport().Name() + ":" + strings.TrimSuffix(ref.StringWithinTransport(), ":")
}

// IndexJSON returns a list in local storage, else one in a registry, as it is.
func (s *Store) IndexJSON(ctx context.Context, name string, r Registry) ([]byte, error) {
	ref, err := parseTransport(name)
	if err != nil {
		return nil, err
	}
	if ref == nil {
		x, err := s.Index(name)
		if err == nil {
			return x.JSON()
		}
		if !errors.Is(err, ErrNoImage) {
			return nil, err
		}
		if ref, err = registrySource(name); err != nil {
			return nil, err
		}
	}
	var raw []byte
	err = s.readRemote(ctx, ref, r, func(src types.ImageSource, _ *types.SystemContext) error {
		blob, mediaType, err := src.GetManifest(ctx, nil)
		if err == nil && !manifest.IsIndex(mediaType) {
			err = fmt.Errorf("manifest is of type %s (not a list type)", mediaType)
		}
		raw = blob
		return err
	})
	return raw, err
}

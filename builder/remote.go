package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/manifest"
	"github.com/slipway-build/slipway/builder/internal/state"
)

// A Remote is an image that is not in local storage, as its JSON documents tell: nothing else of it has been read.
type Remote struct {
	// Top is the manifest or list that the name stands for, Manifest that of the image.
	Top, Manifest []byte
	// Config is the image's configuration blob; empty for artifacts.
	Config []byte
	Layers []RemoteLayer
	name   string
}

// A RemoteLayer is a layer as a manifest describes it.
type RemoteLayer struct {
	MediaType string
	Digest    digest.Digest
	Size      int64 // of the blob, in bytes; -1 if the manifest does not say
}

// RemoteView is what inspect shows of a Remote.
type RemoteView struct {
	*View
	Layers []RemoteLayer
}

// IsRemote tells whether text is a TRANSPORT:REST other than a name in local storage.
func IsRemote(text string) bool {
	ref, err := parseTransport(text)
	return err == nil && ref != nil
}

// Remote reads the documents of an image elsewhere, for a platform if it is one of a list.
func (s *Store) Remote(ctx context.Context, name string, p Platform, r Registry) (*Remote, error) {
	ref, err := parseTransport(name)
	if err != nil {
		return nil, err
	}
	if ref == nil {
		return nil, fmt.Errorf("%s: a transport is needed, as in docker://%s", name, name)
	}
	var found *Remote
	err = s.readRemote(ctx, ref, r, func(src types.ImageSource, sys *types.SystemContext) error {
		sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Arch, p.Variant
		found, err = documents(ctx, src, sys)
		return err
	})
	if err != nil {
		return nil, err
	}
	found.name = strings.TrimPrefix(refText(ref), "docker://")
	return found, nil
}

func documents(ctx context.Context, src types.ImageSource, sys *types.SystemContext) (*Remote, error) {
	one := image.UnparsedInstance(src, nil)
	raw, mediaType, err := one.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	found := &Remote{Top: raw}
	if manifest.IsIndex(mediaType) {
		list, err := cmanifest.ListFromBlob(raw, mediaType)
		if err != nil {
			return nil, err
		}
		d, err := list.ChooseInstance(sys)
		if err != nil {
			return found, nil //nolint:nilerr // a list without an image for this platform can be shown as a list
		}
		one = image.UnparsedInstance(src, &d)
	}
	img, err := image.FromUnparsedImage(ctx, sys, one)
	if err != nil {
		return nil, err
	}
	if found.Manifest, _, err = img.Manifest(ctx); err != nil {
		return nil, err
	}
	if found.Config, err = img.ConfigBlob(ctx); err != nil {
		return nil, err
	}
	for _, l := range img.LayerInfos() {
		found.Layers = append(found.Layers, RemoteLayer{l.MediaType, l.Digest, l.Size})
	}
	return found, nil
}

// Chosen fails if the name stands for a list without an image for the platform.
func (r *Remote) Chosen() error {
	if r.Manifest == nil {
		return fmt.Errorf("%s: %w for this platform: choose one with --platform, or see the list with --raw", r.name, manifest.ErrNoPlatform)
	}
	return nil
}

// View is what inspect shows.
func (r *Remote) View() (*RemoteView, error) {
	if err := r.Chosen(); err != nil {
		return nil, err
	}
	cfg, err := config.Parse(r.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration of %s: %w", r.name, err)
	}
	cfg.Annotations = annotations(r.Manifest)
	d, err := cmanifest.Digest(r.Manifest)
	if err != nil {
		return nil, err
	}
	v := state.ImageView(cfg)
	v.FromImage, v.FromImageDigest, v.FromImageID = r.name, d.String(), digest.FromBytes(r.Config).Encoded()
	v.Config, v.Manifest = string(r.Config), string(r.Manifest)
	return &RemoteView{v, r.Layers}, nil
}

// RetagRemote gives an image in a registry further names in its repository. Only manifests go over the wire.
func (s *Store) RetagRemote(ctx context.Context, name string, names []string, r Registry) error {
	src, err := parseTransport(name)
	if err != nil {
		return err
	}
	for _, n := range names {
		dest, err := parseTransport(n)
		if err != nil {
			return err
		}
		if src == nil || dest == nil || !sameRepository(src, dest) {
			return fmt.Errorf("cannot tag %s as %s: both must be docker:// names of one repository; push copies between repositories", name, n)
		}
		if _, err := s.retag(ctx, src, dest, r); err != nil {
			return err
		}
	}
	return nil
}

// RemoveRemote deletes the manifest that a tag in a registry names. Registries delete by digest, and with it every other tag of
// the same manifest: that is refused unless forced.
func (s *Store) RemoveRemote(ctx context.Context, name string, force bool, r Registry) (Removed, error) {
	ref, err := parseTransport(name)
	if err != nil {
		return Removed{}, err
	}
	if ref == nil || ref.Transport().Name() != docker.Transport.Name() {
		return Removed{}, fmt.Errorf("%s: only images in local storage and in registries (docker://) can be deleted", name)
	}
	sys, err := s.system(r, Platform{})
	if err != nil {
		return Removed{}, err
	}
	if err := s.permit(ref, r, sys); err != nil {
		return Removed{}, err
	}
	if !force {
		if err := s.onlyTag(ctx, ref, sys, r); err != nil {
			return Removed{}, fmt.Errorf("deleting %s: %w", name, err)
		}
	}
	if err := s.retry(ctx, r, func() error { return ref.DeleteImage(ctx, sys) }); err != nil {
		return Removed{}, fmt.Errorf("deleting %s: %w", name, err)
	}
	return Removed{Untagged: []string{ref.DockerReference().String()}}, nil
}

// onlyTag fails if another tag of the repository names the same manifest.
func (s *Store) onlyTag(ctx context.Context, ref types.ImageReference, sys *types.SystemContext, r Registry) error {
	named := reference.TrimNamed(ref.DockerReference())
	var want digest.Digest
	err := s.retry(ctx, r, func() (err error) { want, err = docker.GetDigest(ctx, sys, ref); return err })
	if err != nil && strings.Contains(err.Error(), "StatusCode: 404") {
		return errors.New("manifest unknown") // the answer has no text, as nothing but its head was asked for
	}
	if err != nil {
		return err
	}
	tags, err := docker.GetRepositoryTags(ctx, sys, ref)
	if err != nil {
		return fmt.Errorf("listing tags: %w", err)
	}
	own := ""
	if t, ok := ref.DockerReference().(reference.Tagged); ok {
		own = t.Tag()
	}
	var same []string
	for _, tag := range tags {
		t, err := reference.WithTag(named, tag)
		if err != nil || tag == own {
			continue
		}
		other, err := docker.NewReference(t)
		if err != nil {
			return err
		}
		if d, err := docker.GetDigest(ctx, sys, other); err == nil && d == want {
			same = append(same, tag)
		}
	}
	if len(same) > 0 {
		return fmt.Errorf("tags %s name the same manifest and would go as well: use --force", strings.Join(same, ", "))
	}
	return nil
}

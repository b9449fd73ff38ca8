package builder

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/pkg/shortnames"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/transports"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// Pull makes sure that an image is in local storage, as o.Policy says, and returns it. ref is a name, an
// ID, or TRANSPORT:REST (cli.md §6).
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (*Image, error) {
	src, err := parseTransport(ref)
	if err != nil {
		return nil, err
	}
	if src != nil && isLocalTransport(src) {
		return s.fetchFile(ctx, src, o)
	}
	if src != nil && src.Transport().Name() != docker.Transport.Name() {
		return s.fetch(ctx, src, o) // a daemon's: policies are about registries
	}
	name := strings.TrimPrefix(ref, "docker://")
	local, err := s.findImage(name)
	if err != nil && !errors.Is(err, ErrNoImage) {
		return nil, err
	}
	if local != nil && o.Policy != PullAlways && o.Policy != PullNewer {
		if x := s.image(local).Index(); x != nil {
			return s.hostImage(ctx, x, o)
		}
	}
	if local != nil && s.satisfies(ctx, local, o) {
		return s.image(local), nil
	}
	if o.Policy == PullNever || strings.HasPrefix(ref, storagePrefix) || strings.HasPrefix(ref, "sha256:") || reference.IsFullIdentifier(ref) {
		if why := s.unlike(ctx, local, o.Platform); why != "" {
			return nil, fmt.Errorf("%s: %w: %s", name, ErrNoImage, why)
		}
		return nil, fmt.Errorf("%s: %w", name, ErrNoImage)
	}
	if src != nil {
		return s.fetch(ctx, src, o)
	}
	return s.fetchNamed(ctx, name, local, o)
}

// satisfies tells whether a local image is good enough under the policy. A platform asked for
// explicitly must match (exact.md §6.5), but for a variant that nobody may be asked for.
func (s *Store) satisfies(ctx context.Context, local *storage.Image, o PullOptions) bool {
	if o.Policy != PullMissing && o.Policy != PullNever {
		return false
	}
	return s.isFor(ctx, local, o.Platform, o.Policy == PullNever)
}

// isFor tells whether a local image is for a platform, as far as one is named, with another variant if that is good enough.
func (s *Store) isFor(ctx context.Context, local *storage.Image, p Platform, anyVariant bool) bool {
	if p == (Platform{}) {
		return true
	}
	cfg, err := s.image(local).Config(ctx)
	return err == nil && (p.OS == "" || cfg.OS == p.OS) && (p.Arch == "" || cfg.Architecture == p.Arch) &&
		(p.Variant == "" || cfg.Variant == p.Variant || anyVariant)
}

// unlike says why a local image was not good enough: it is for another platform than the one that was asked for. "" if there is none.
func (s *Store) unlike(ctx context.Context, local *storage.Image, asked Platform) string {
	if local == nil || asked == (Platform{}) {
		return ""
	}
	cfg, err := s.image(local).Config(ctx)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("the local image is for %s, not for %s", Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}, asked.OrHost())
}

// fetchNamed asks the registries that a name may stand for, one after the other.
func (s *Store) fetchNamed(ctx context.Context, name string, local *storage.Image, o PullOptions) (*Image, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	remotes, err := s.pullCandidates(name, named, local)
	if err != nil {
		return nil, err
	}
	if local != nil && reference.Domain(remotes[0].Value) == "localhost" {
		o.Registry.Retries = 0 // it was made here, and hardly anywhere else
	}
	fits := local != nil && s.isFor(ctx, local, o.Platform, false)
	var errs []error
	for _, candidate := range remotes {
		n := pinned(candidate.Value)
		src, err := docker.NewReference(n)
		if err != nil {
			return nil, err
		}
		if o.Policy == PullNewer && fits && !s.differs(ctx, src, local, o) {
			return s.image(local), nil
		}
		if o.Report != nil {
			fmt.Fprintf(o.Report, "Trying to pull %s...\n", n)
		}
		img, err := s.fetch(ctx, src, o)
		if err == nil {
			if rerr := candidate.Record(); rerr != nil {
				s.o.Log.Warn("recording which registry was chosen", "name", name, "error", rerr)
			}
			return img, nil
		}
		errs = append(errs, err)
	}
	if o.Policy == PullNewer && fits {
		return s.image(local), nil
	}
	if why := s.unlike(ctx, local, o.Platform); why != "" && !fits && o.Policy != PullAlways {
		errs[0] = fmt.Errorf("%s: %w", why, errs[0])
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, fmt.Errorf("%s: tried %d registries: %w", name, len(errs), errors.Join(errs...))
}

// pullCandidates is where to look for a name: a short name stands for its local match, if there is one (exact.md §6.4).
func (s *Store) pullCandidates(name string, named reference.Named, local *storage.Image) ([]shortnames.PullCandidate, error) {
	if local != nil {
		if n, err := reference.ParseNormalizedNamed(s.bestName(local, name)); err == nil {
			return []shortnames.PullCandidate{{Value: reference.TagNameOnly(n)}}, nil
		}
	}
	return s.remoteCandidates(name, named)
}

// differs tells whether the registry has another image than the local one; it has not when it cannot be asked.
func (s *Store) differs(ctx context.Context, src types.ImageReference, local *storage.Image, o PullOptions) bool {
	sys, err := s.system(o.Registry, o.Platform)
	if err != nil {
		return false
	}
	if s.permit(src, o.Registry, sys) != nil {
		return false
	}
	d, err := docker.GetDigest(ctx, sys, src)
	if err != nil {
		return false
	}
	for _, have := range local.Digests {
		if have == d {
			return false
		}
	}
	return true
}

// fetch copies an image from a registry or daemon into local storage under its own name.
func (s *Store) fetch(ctx context.Context, src types.ImageReference, o PullOptions) (*Image, error) {
	named := src.DockerReference()
	if named == nil {
		return s.fetchFile(ctx, src, o)
	}
	dest, err := istorage.Transport.NewStoreReference(s.st, named, "")
	if err != nil {
		return nil, err
	}
	return s.copyIn(ctx, dest, src, o)
}

// fetchFile copies an image from an archive or directory. A name recorded in it becomes the image's
// name; otherwise the image is known by its ID (exact.md §6.7).
func (s *Store) fetchFile(ctx context.Context, src types.ImageReference, o PullOptions) (*Image, error) {
	if err := exists(src); err != nil {
		return nil, fmt.Errorf("reading image %s: %w", transports.ImageName(src), err)
	}
	sys, err := s.system(o.Registry, o.Platform)
	if err != nil {
		return nil, err
	}
	id, named := "", reference.Named(nil)
	err = s.swept(src, sys, func(sys *types.SystemContext) error {
		if named, err = recordedName(src, sys); err != nil || named != nil {
			return err
		}
		id, err = configID(ctx, src, sys)
		return err
	})
	if err != nil {
		return nil, err
	}
	dest, err := istorage.Transport.NewStoreReference(s.st, named, id)
	if err != nil {
		return nil, err
	}
	return s.copyIn(ctx, dest, src, o)
}

// recordedName returns the name that an archive or layout gives its image, nil if none.
func recordedName(src types.ImageReference, sys *types.SystemContext) (reference.Named, error) {
	if named := src.DockerReference(); named != nil {
		return named, nil
	}
	name := ""
	switch src.Transport().Name() {
	case "docker-archive":
		return nameInDockerArchive(src, sys)
	case "oci":
		inner := src
		if l, ok := src.(ociLayout); ok {
			inner = l.ImageReference
		}
		if d, err := layout.LoadManifestDescriptor(inner); err == nil {
			name = d.Annotations["org.opencontainers.image.ref.name"]
		}
	case "oci-archive":
		file, inside, _ := strings.Cut(src.StringWithinTransport(), ":")
		if name = inside; name == "" {
			name = nameInArchive(file)
		}
	}
	if !strings.ContainsAny(name, "/:") {
		return nil, nil // a bare tag is not a name
	}
	named, err := localName(name)
	if err != nil {
		return nil, nil //nolint:nilerr // an annotation that is no reference is no name
	}
	if _, digested := named.(reference.Digested); digested {
		return nil, nil // the image says itself what its digest is
	}
	return named, nil
}

// nameInDockerArchive returns the first name that an archive of Docker's gives its image, nil if it has none.
func nameInDockerArchive(src types.ImageReference, sys *types.SystemContext) (reference.Named, error) {
	file, which, _ := strings.Cut(src.StringWithinTransport(), ":")
	r, err := dockerarchive.NewReader(sys, file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", src.StringWithinTransport(), err)
	}
	defer r.Close()
	list, err := r.List()
	if err != nil || len(list) == 0 {
		return nil, nil //nolint:nilerr // the copy says what is wrong
	}
	if len(list) > 1 && which == "" {
		return nil, fmt.Errorf("docker-archive:%s holds %d images: say which, as in docker-archive:%s:%s; `load` takes them all", file, len(list), file, inArchive(list[0], 0))
	}
	index := 0
	if n, isIndex := strings.CutPrefix(which, "@"); isIndex {
		if index, err = strconv.Atoi(n); err != nil || index < 0 || index >= len(list) {
			return nil, nil //nolint:nilerr // the copy says what is wrong
		}
	}
	if len(list[index]) == 0 {
		return nil, nil
	}
	return list[index][0].DockerReference(), nil
}

// inArchive is what an archive's image is called behind the name of the file.
func inArchive(names []types.ImageReference, index int) string {
	if len(names) > 0 && names[0].DockerReference() != nil {
		return names[0].DockerReference().String()
	}
	return fmt.Sprintf("@%d", index)
}

// nameInArchive returns the name that an oci-archive gives its only image, "" if there is none to be found. The archive is not
// unpacked for it.
func nameInArchive(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return "" // also of a compressed archive
		}
		if path.Clean(h.Name) != "index.json" {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(r, manifest.MaxIndex))
		if err != nil {
			return ""
		}
		x, err := manifest.ParseIndex(raw)
		if err != nil || len(x.Manifests) != 1 {
			return ""
		}
		return x.Manifests[0].Annotations["org.opencontainers.image.ref.name"]
	}
}

// configID is the ID that an image will have in storage.
func (s *Store) configID(ctx context.Context, src types.ImageReference, sys *types.SystemContext) (id string, err error) {
	err = s.swept(src, sys, func(sys *types.SystemContext) error {
		id, err = configID(ctx, src, sys)
		return err
	})
	return id, err
}

func configID(ctx context.Context, src types.ImageReference, sys *types.SystemContext) (string, error) {
	img, err := src.NewImage(ctx, sys)
	if err != nil {
		return "", fmt.Errorf("reading image %s: %w", transports.ImageName(src), err)
	}
	defer img.Close()
	d := img.ConfigInfo().Digest
	if d == "" {
		return "", fmt.Errorf("reading image %s: an image of Docker's first format (v2s1) has no configuration, so no ID: only one with a name, as in a registry, can be pulled",
			transports.ImageName(src))
	}
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("reading image %s: configuration %w", src.StringWithinTransport(), err)
	}
	return d.Encoded(), nil
}

// copyIn copies src into local storage and returns what it became.
func (s *Store) copyIn(ctx context.Context, dest, src types.ImageReference, o PullOptions) (*Image, error) {
	sys, err := s.system(o.Registry, o.Platform)
	if err != nil {
		return nil, err
	}
	to, from, done := s.unpacking(dest, src, o.Registry)
	var resolved types.ImageReference
	events, end := counting(o.Progress)
	raw, err := s.transfer(ctx, to, from, o.Registry, copy.Options{
		SourceCtx: sys, DestinationCtx: &s.sys, ReportWriter: report(o.Report), ReportResolvedReference: &resolved,
		Progress: events, ProgressInterval: tellEach,
	})
	end()
	done(err)
	err = keyless(err)
	if name := refText(src); err != nil && !strings.Contains(err.Error(), name) {
		err = fmt.Errorf("reading image %q: %w", name, err) // many of the library's errors do not say of what
	}
	if err != nil {
		return nil, err
	}
	rec, err := s.pulled(dest, resolved, raw)
	if err != nil {
		return nil, fmt.Errorf("finding the image just pulled: %w", err)
	}
	if src.Transport().Name() == docker.Transport.Name() {
		s.remember(rec, raw, src.DockerReference().Name(), nil)
	}
	return s.image(rec), nil
}

// pulled returns the record of the image that a copy to dest has made. Where the library does not say which, the manifest does, but
// for the oldest kind, whose configuration is made up: then it is what dest names now.
func (s *Store) pulled(dest, resolved types.ImageReference, raw []byte) (*storage.Image, error) {
	if resolved == nil {
		done, err := DescribeManifest(raw)
		if err != nil {
			return nil, err
		}
		if done.Config != "" {
			if rec, err := s.st.Image(done.Config.Encoded()); err == nil {
				return rec, nil
			}
		}
		resolved = dest
	}
	_, rec, err := istorage.ResolveReference(resolved)
	return rec, err
}

// PullAll pulls every tag of a repository and returns the images in the registry's order.
func (s *Store) PullAll(ctx context.Context, ref string, o PullOptions) ([]*Image, error) {
	src, err := parseTransport(ref)
	if err != nil {
		return nil, err
	}
	if src != nil && src.Transport().Name() != "docker" {
		return nil, fmt.Errorf("pulling all tags is not supported for %s transport", src.Transport().Name())
	}
	named, err := reference.ParseNormalizedNamed(strings.TrimPrefix(ref, "docker://"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	candidates := []shortnames.PullCandidate{{Value: named}}
	if src == nil {
		if candidates, err = s.remoteCandidates(ref, named); err != nil {
			return nil, err
		}
	}
	var errs []error
	for _, c := range candidates {
		repo := reference.TrimNamed(c.Value)
		tags, err := s.tags(ctx, repo, o)
		if err != nil {
			errs = append(errs, fmt.Errorf("listing tags of %s: %w", repo, err))
			continue
		}
		if err := c.Record(); err != nil {
			s.o.Log.Warn("recording which registry was chosen", "name", ref, "error", err)
		}
		return s.pullTags(ctx, repo, tags, o)
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	return nil, fmt.Errorf("%s: tried %d registries: %w", ref, len(errs), errors.Join(errs...))
}

// tags lists those of a repository.
func (s *Store) tags(ctx context.Context, repo reference.Named, o PullOptions) (tags []string, err error) {
	ref, err := docker.NewReference(reference.TagNameOnly(repo))
	if err != nil {
		return nil, err
	}
	sys, err := s.system(o.Registry, o.Platform)
	if err != nil {
		return nil, err
	}
	if err := s.permit(ref, o.Registry, sys); err != nil {
		return nil, err
	}
	err = s.retry(ctx, o.Registry, func() (err error) { tags, err = docker.GetRepositoryTags(ctx, sys, ref); return err })
	return tags, err
}

// pullTags pulls images of a repository, whatever is here.
func (s *Store) pullTags(ctx context.Context, repo reference.Named, tags []string, o PullOptions) ([]*Image, error) {
	o.Policy = PullAlways
	var all []*Image
	for _, tag := range tags {
		img, err := s.Pull(ctx, repo.Name()+":"+tag, o)
		if err != nil {
			return all, err
		}
		all = append(all, img)
	}
	return all, nil
}

// annotations returns those of an OCI manifest, nil for anything else.
func annotations(raw []byte) map[string]string {
	var m struct {
		MediaType   string            `json:"mediaType"`
		Annotations map[string]string `json:"annotations"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m.Annotations
}

// report never passes a typed nil on to the library.
func report(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

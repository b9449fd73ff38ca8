package builder

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/compression"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Push copies an image or a list to dest, TRANSPORT:REST or a registry's name, and returns the digest of the manifest as
// it was written there (cli.md §10.3). The source is a name in local storage, or TRANSPORT:REST: then content streams from one
// place to the other and nothing is stored here. A list is pushed as a list, with its images.
func (s *Store) Push(ctx context.Context, source, dest string, o PushOptions) (digest.Digest, error) {
	src, err := parseTransport(source)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(dest, storagePrefix) {
		return s.pushHere(ctx, source, src, dest, o)
	}
	to, err := destination(dest)
	if err != nil {
		return "", err
	}
	return s.signed(ctx, to, o, func() (digest.Digest, error) {
		if src != nil {
			return s.relay(ctx, src, to, o)
		}
		return s.pushLocal(ctx, source, to, o)
	})
}

// pushLocal copies an image or a list in local storage to a place.
func (s *Store) pushLocal(ctx context.Context, source string, to types.ImageReference, o PushOptions) (digest.Digest, error) {
	rec, err := s.findImage(source)
	if err != nil {
		return "", err
	}
	x := s.image(rec).Index()
	if x == nil {
		return o.digestOf(s.push(ctx, s.image(rec), to, o, true))
	}
	if !takesLists(to) {
		img, err := s.hostImage(ctx, x, PullOptions{Registry: o.Registry, Report: o.Report})
		if err != nil {
			return "", err
		}
		return o.digestOf(s.push(ctx, img, to, o, true))
	}
	return s.pushIndex(ctx, x, to, o)
}

// PushIndex is Push for a list only: anything else of that name is an error.
func (s *Store) PushIndex(ctx context.Context, name, dest string, o PushOptions) (digest.Digest, error) {
	x, err := s.Index(name)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(dest, storagePrefix) {
		return s.pushHere(ctx, name, nil, dest, o)
	}
	to, err := destination(dest)
	if err != nil {
		return "", err
	}
	return s.signed(ctx, to, o, func() (digest.Digest, error) { return s.pushIndex(ctx, x, to, o) })
}

func (s *Store) pushIndex(ctx context.Context, x *Index, dest types.ImageReference, o PushOptions) (digest.Digest, error) {
	src, err := s.indexRef(x)
	if err != nil {
		return "", err
	}
	sys, err := s.system(o.Registry, Platform{})
	if err != nil {
		return "", err
	}
	if o, err = s.withCompression(o, ispec.MediaTypeImageManifest); err != nil {
		return "", err
	}
	if o.AddCompression == nil && !o.ListOnly && !o.Compression.Disable && o.Format != "v2s2" {
		conf, err := s.conf()
		if err != nil {
			return "", err
		}
		o.AddCompression = conf.Engine.AddCompression
	}
	if o.ListOnly && len(o.AddCompression) > 0 {
		return "", errors.New("--add-compression compresses the images of the list: they must be pushed as well (--all)")
	}
	o.settleVariants()
	from := *sys
	from.DockerAuthConfig = nil // meant for the destination; entries may be anywhere
	if err := compress(sys, o.Compression, true); err != nil {
		return "", err
	}
	sys.DirForceCompress = sys.DirForceCompress || len(o.AddCompression) > 0 // else variants in a directory are no such
	return o.digestOf(s.send(ctx, dest, src, o, copy.Options{SourceCtx: &from, DestinationCtx: sys}))
}

// push copies an image out. compressing is whether layers are compressed when o does not say.
func (s *Store) push(ctx context.Context, img *Image, dest types.ImageReference, o PushOptions, compressing bool) ([]byte, error) {
	sys, err := s.system(o.Registry, Platform{})
	if err != nil {
		return nil, err
	}
	src, err := s.storageRef(img.ID())
	if err != nil {
		return nil, err
	}
	if dest, err = named(dest, img); err != nil {
		return nil, err
	}
	if name := dest.Transport().Name(); compressing && name != "docker-archive" && name != "docker-daemon" { // those hold plain layers
		_, kind, err := img.Manifest(ctx)
		if err == nil {
			o, err = s.withCompression(o, kind)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := compress(sys, o.Compression, compressing || !isLocalTransport(dest)); err != nil {
		return nil, err
	}
	return s.send(ctx, dest, src, o, copy.Options{SourceCtx: &s.sys, DestinationCtx: sys})
}

// send copies src, which may be a list, to dest in the format that o asks for. Contexts, compression included, are in co.
func (s *Store) send(ctx context.Context, dest, src types.ImageReference, o PushOptions, co copy.Options) ([]byte, error) {
	var err error
	if co.ForceManifestMIMEType, err = manifestType(o.Format); err != nil {
		return nil, err
	}
	if co.EnsureCompressionVariantsExist, err = variants(o.AddCompression); err != nil {
		return nil, err
	}
	if err := o.Encrypt.encrypt(&co); err != nil {
		return nil, err
	}
	co.ReportWriter, co.DestinationTimestamp = report(o.Report), o.Time
	co.ForceCompressionFormat = o.Compression.chosen() != ""
	co.ImageListSelection = copy.CopyAllImages
	if o.ListOnly {
		co.ImageListSelection = copy.CopySpecificImages
	}
	if !takesLists(dest) {
		co.ImageListSelection = copy.CopySystemImage
	}
	reg := s.blobDest(dest, src, &co, o.Registry.RemoveSignatures)
	if reg == nil && o.Compression.Disable && dest.Transport().Name() == docker.Transport.Name() {
		return nil, fmt.Errorf("pushing %s to %s: uncompressed layers (--disable-compression) can be neither encrypted nor compressed in "+
			"further ways (--add-compression), nor can the image keep its signatures (see --remove-signatures)", shortText(src), refText(dest))
	}
	if reg != nil {
		dest = reg
	}
	if err := plainPlace(dest); err != nil {
		return nil, fmt.Errorf("pushing %s to %s: %w", shortText(src), refText(dest), err)
	}
	undo := removeNew(dest)
	raw, err := s.copyListed(ctx, dest, src, o.Registry, co)
	if err != nil && strings.Contains(err.Error(), "Would invalidate signatures") {
		err = fmt.Errorf("%w: push without the image's signatures (--remove-signatures)", err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pushing %s to %s: %w", shortText(src), refText(dest), err), undo())
	}
	if reg != nil && reg.from == nil && !reg.exact { // of several compressions the last one would be the one to keep
		s.rememberAll(reg, src)
	}
	return raw, nil
}

// removeNew returns a function that removes what a copy to dest that failed has left there. What was there before it began stays, as does a
// place in which another program has written an image meanwhile.
func removeNew(dest types.ImageReference) (undo func() error) {
	if !isLocalTransport(dest) {
		return func() error { return nil }
	}
	path := localPath(dest)
	list, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return func() error { return removeUnfinished(path, func() error { return os.RemoveAll(path) }) }
	case err == nil && len(list) == 0:
		return func() error { return removeUnfinished(path, func() error { return removeContent(path) }) }
	}
	return func() error { return nil }
}

// removeUnfinished calls remove unless there is an image in a directory.
func removeUnfinished(path string, remove func() error) error {
	for _, name := range []string{"index.json", "manifest.json"} {
		if text, err := os.ReadFile(filepath.Join(path, name)); err == nil && bytes.Contains(text, []byte("sha256:")) {
			return nil
		}
	}
	return remove()
}

// removeContent empties a directory.
func removeContent(path string) error {
	list, err := os.ReadDir(path)
	errs := []error{err}
	for _, e := range list {
		errs = append(errs, os.RemoveAll(filepath.Join(path, e.Name())))
	}
	return errors.Join(errs...)
}

// blobDest wraps a registry so that blobs it has are not sent again, where that is possible: not when layers are to be encrypted, nor for signed images (unless unsigned), as the library passes a wrapped destination signatures of one kind only.
func (s *Store) blobDest(dest, src types.ImageReference, co *copy.Options, unsigned bool) *blobDest {
	plain := co.DestinationCtx.OCIAcceptUncompressedLayers
	several := len(co.EnsureCompressionVariantsExist) > 0
	if dest.Transport().Name() != "docker" || several && plain || co.OciEncryptConfig != nil {
		return nil
	}
	d := &blobDest{ImageReference: dest, s: s, plain: plain, exact: several}
	if src.Transport().Name() == docker.Transport.Name() {
		if src.DockerReference().Name() != dest.DockerReference().Name() && !co.ForceCompressionFormat {
			d.from = src.DockerReference()
			return d
		}
		return d.ifPlain()
	}
	if src.Transport().Name() != istorage.Transport.Name() {
		return d.ifPlain()
	}
	format := co.ForceManifestMIMEType
	if x, ok := src.(indexRef); ok {
		d.places = x.x.repositories()
	}
	if several {
		return d
	}
	if dr, ok := src.(*draft); ok {
		format = cmp.Or(format, dr.blobs.MediaType)
	} else {
		rec, err := s.pushable(src, unsigned)
		if err != nil {
			return nil
		}
		if raw, err := s.st.ImageBigData(rec.ID, storage.ImageDigestBigDataKey); err == nil && format == "" {
			format = manifest.GuessMIMEType(raw)
		}
	}
	if alg := co.DestinationCtx.CompressionFormat; alg != nil {
		d.format = alg.Name()
	} else if format != ispec.MediaTypeImageManifest {
		d.format = "gzip" // all that Docker's manifests can name, and what a list's images have in common
	}
	co.ForceCompressionFormat = false // layers are compressed here, or chosen by d.format
	return d
}

// pushable returns the record of an image in storage that is copied without signatures.
func (s *Store) pushable(ref types.ImageReference, unsigned bool) (*storage.Image, error) {
	if _, unstored := ref.(*draft); unstored || ref.Transport().Name() != istorage.Transport.Name() {
		return nil, ErrNoImage
	}
	if x, ok := ref.(indexRef); ok {
		return &x.x.rec, nil
	}
	_, rec, err := istorage.ResolveReference(ref)
	if err != nil {
		return nil, err
	}
	var meta struct {
		Sizes map[string][]int `json:"signatures-sizes"`
	}
	if !unsigned && rec.Metadata != "" && json.Unmarshal([]byte(rec.Metadata), &meta) != nil {
		return nil, ErrNoImage
	}
	for _, list := range meta.Sizes {
		if len(list) > 0 {
			return nil, ErrNoImage
		}
	}
	return rec, nil
}

// rememberAll notes where the layers of the images just pushed are.
func (s *Store) rememberAll(d *blobDest, src types.ImageReference) {
	place := d.DockerReference().Name()
	manifests, made := d.written()
	for _, raw := range manifests {
		if dr, ok := src.(*draft); ok {
			s.rememberChain(dr.base, dr.layers()-len(dr.base), raw, place, made)
			continue
		}
		m, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
		if err != nil {
			continue
		}
		if rec, err := s.st.Image(m.ConfigInfo().Digest.Encoded()); err == nil {
			s.remember(rec, raw, place, made)
		}
	}
}

// digestOf returns the digest of a manifest that was written, and tells the caller of it.
func (o PushOptions) digestOf(raw []byte, err error) (digest.Digest, error) {
	if err != nil {
		return "", err
	}
	if o.Written != nil {
		o.Written(raw)
	}
	return manifest.Digest(raw)
}

// takesLists tells whether a destination can hold a list.
func takesLists(dest types.ImageReference) bool {
	switch dest.Transport().Name() {
	case "docker", "dir", "oci", "oci-archive":
		return true
	}
	return false
}

// shortText names a source in messages: a local image by its short ID.
func shortText(ref types.ImageReference) string {
	text := refText(ref)
	if id := localImage(text); id != "" {
		return id[:12]
	}
	return text
}

// settleVariants asks for the variants of a list in the way that the library understands: it takes images that are not annotated otherwise for
// compressed by gzip, whatever they are about to become. What is asked for stays the same.
func (o *PushOptions) settleVariants() {
	c := &o.Compression
	if c.Format != "" && c.Format != "gzip" && slices.Contains(o.AddCompression, "gzip") {
		o.AddCompression = append(slices.Clone(o.AddCompression), c.Format)
		c.Format, c.Level = "gzip", nil
	}
	format := c.Format
	o.AddCompression = slices.DeleteFunc(slices.Clone(o.AddCompression), func(f string) bool { return f == format })
}

// variants reads the values of --add-compression.
func variants(formats []string) ([]copy.OptionCompressionVariant, error) {
	var list []copy.OptionCompressionVariant
	for _, f := range formats {
		alg, err := compression.AlgorithmByName(f)
		if err != nil {
			return nil, unknownCompression(f)
		}
		list = append(list, copy.OptionCompressionVariant{Algorithm: alg})
	}
	return list, nil
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

// hostImage returns the image of a list for a platform, fetching it if it is elsewhere.
func (s *Store) hostImage(ctx context.Context, x *Index, o PullOptions) (*Image, error) {
	e, err := x.list.Choose(o.Platform.OS, o.Platform.Arch, o.Platform.Variant)
	if err != nil {
		return nil, err
	}
	place := x.where[e.Digest]
	if id := localImage(place); id != "" {
		return s.Image(id)
	}
	if place == "" {
		return nil, fmt.Errorf("manifest list %s does not say where %s is", x.rec.ID, e.Digest)
	}
	return s.Pull(ctx, place, o)
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
	// The family's text, spelling included (cli.md §10.3).
	return "", fmt.Errorf("unknown format %q. Choose on of the supported formats: 'oci', 'v2s1', or 'v2s2'", format)
}

// Destination tells whether text names a place other than local storage, as commit and build read it:
// there, unlike for push, a bare name is local.
func Destination(text string) (remote bool, err error) {
	ref, err := parseTransport(text)
	return ref != nil, err
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/manifest"
	"github.com/slipway-build/slipway/internal/version"
)

// Commit makes an image of the container in local storage, with names, and returns it. The container
// stays usable and keeps its base, unless o.Remove (containers.md §11). The error is ErrInUse if the container is to be removed
// while a command runs in it.
func (c *Container) Commit(ctx context.Context, names []string, o CommitOptions) (*Image, error) {
	full, err := c.s.localNames(names)
	if err != nil {
		return nil, err
	}
	if err := o.Sign.CheckLocal(ctx, full); err != nil {
		return nil, err
	}
	hold, err := c.hold(o.Remove)
	if err != nil {
		return nil, err
	}
	defer hold.Close()
	img, err := c.commit(ctx, full, o)
	if err == nil {
		err = c.s.SignImage(ctx, img, full, o.Sign)
	}
	if err == nil && o.Report != nil {
		err = c.s.tellWritten(ctx, img, o.Report)
	}
	if err != nil {
		return nil, err
	}
	if o.Remove {
		return img, c.remove()
	}
	return img, nil
}

// tellWritten tells of an image in local storage in the words of a copy, which is what scripts of the family know a commit for
// (exact.md, cli.md §1.1).
func (s *Store) tellWritten(ctx context.Context, img *Image, w io.Writer) error {
	layers, err := s.Layers(img.TopLayer())
	if err != nil {
		return err
	}
	done, err := img.Committed(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(w, "Getting image source signatures")
	for _, l := range layers {
		fmt.Fprintln(w, "Copying blob "+l.DiffID.String())
	}
	fmt.Fprintln(w, "Copying config "+done.Config.String())
	fmt.Fprintln(w, "Writing manifest to image destination")
	return nil
}

// commit makes the image; the container is held.
func (c *Container) commit(ctx context.Context, names []string, o CommitOptions) (*Image, error) {
	if err := c.afterKilled(); err != nil {
		return nil, err
	}
	if _, err := c.edit(c.cfg.Clone(), o); err != nil { // before anything is stored, or moved
		return nil, err
	}
	if o.SBOM.On() {
		files, done, err := c.scan(ctx, nil, o.SBOM)
		if err != nil {
			return nil, err
		}
		defer func() {
			if derr := done(); derr != nil {
				c.s.o.Log.Warn("removing temporary files", "error", derr)
			}
		}()
		o.AddFiles = append(slices.Clone(o.AddFiles), files...)
	}
	claim := c.s.claim(committing)
	img, err := c.writeImage(ctx, names, o, claim)
	return img, errors.Join(err, claim.end(err != nil || c.cfg.OS == windows)) // whose layers are made of others
}

func (c *Container) writeImage(ctx context.Context, names []string, o CommitOptions, claim *claim) (*Image, error) {
	cfg, top, err := c.commitLayers(ctx, o, claim)
	if err != nil {
		return nil, err
	}
	if o.Output, err = c.edit(cfg, o); err != nil {
		return nil, err
	}
	if cfg.OS == windows {
		base, lo, err := c.ownLayer(o)
		if err != nil {
			return nil, err
		}
		lo.IDs, lo.Container, lo.Claim = nil, "", claim.add
		if top, err = c.s.forWindows(ctx, base, top, lo); err != nil {
			return nil, err
		}
	}
	return c.s.WriteImage(ctx, cfg, top, names, o.Output)
}

// moves tells whether a commit may move the container's files to the layer instead of copying them.
func moves(o CommitOptions) bool { return o.Remove && len(o.AddFiles) == 0 && !o.Output.Squash }

// edit changes an image's configuration as o says, and returns o's output with the format filled in that the container was made for.
func (c *Container) edit(cfg *config.Image, o CommitOptions) (Output, error) {
	for _, change := range o.Changes {
		if err := change(cfg); err != nil {
			return o.Output, err
		}
	}
	if o.Output.Format == FormatDefault {
		o.Output.Format = c.Format()
	}
	if o.Output.Format == FormatDocker {
		c.stamp(cfg, o.Output)
	}
	return o.Output, nil
}

// stamp says in Docker's fields which container the image was made of; not when the image must repeat (containers.md §11.5).
func (c *Container) stamp(cfg *config.Image, o Output) {
	cfg.Container = c.id
	if o.Timestamp != nil || o.Epoch != nil {
		cfg.Container = ""
	}
}

// commitLayers stores what the container changed, under a claim, and returns the image's configuration, history
// included, and its top layer.
func (c *Container) commitLayers(ctx context.Context, o CommitOptions, claim *claim) (*config.Image, string, error) {
	parent, lo, err := c.ownLayer(o)
	if err != nil {
		return nil, "", err
	}
	lo.Claim = claim.add
	cfg, linked := c.cfg.Clone(), len(c.rec.AppendedLinkedLayers) > 0
	lo.Move = moves(o) && c.cfg.OS != windows // whose image has another layer
	if lo.Move {
		_, _ = c.s.st.Unmount(c.id, true) // the directory is about to move; not being mounted is no error
	}
	commit := func() (layer.Result, error) { return layer.Commit(ctx, c.s.st, c.layer, parent, lo) }
	if o.Output.Squash {
		cfg.RootFS.DiffIDs, cfg.History = nil, nil
		commit = func() (layer.Result, error) { return layer.Squash(ctx, c.s.st, c.layer, lo) }
		if linked {
			commit = func() (layer.Result, error) { return c.squashLinked(ctx, lo) }
		}
	}
	res, err := commit()
	if err != nil {
		return nil, "", fmt.Errorf("committing %s: storing the layer: %w", c.Name(), err)
	}
	top := parent
	if res.ID != "" {
		top = res.ID
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, res.DiffID)
	}
	created := c.s.created(o.Output)
	cfg.Created = &created
	c.addHistory(cfg, o.Output, created, res.ID == "")
	if linked && !o.Output.Squash {
		if top, err = c.linkedLayers(ctx, cfg, top, o.Output, claim); err != nil {
			return nil, "", err
		}
	}
	if len(o.AddFiles) > 0 {
		if top, err = c.s.addFiles(ctx, cfg, top, o); err != nil {
			return nil, "", err
		}
	}
	return cfg, top, nil
}

// ownLayer says what the layer of the container's changes is to be: over which parent, and how it is made.
func (c *Container) ownLayer(o CommitOptions) (parent string, lo layer.Options, err error) {
	rec, err := c.s.st.Layer(c.layer)
	if err != nil {
		return "", lo, fmt.Errorf("committing %s: %w", c.Name(), err)
	}
	if len(c.rec.PrependedLinkedLayers) > 0 {
		return "", lo, fmt.Errorf("committing %s: another tool added layers that go below the container's own: commit it with that tool", c.Name())
	}
	if parent, err = c.base(rec.Parent); err != nil {
		return "", lo, fmt.Errorf("committing %s: %w", c.Name(), err)
	}
	lo = c.s.layerOptions(o.Output)
	lo.Since = c.rec.Made.In(c.dir)
	if c.users != nil {
		lo.IDs, lo.Container = c.users, c.id
	}
	// An image of scratch has a layer, whatever is in it (decisions.md §3.9), and so has one with layers above (exact.md, cli.md §9.3).
	lo.AllowEmpty = parent == "" || len(c.rec.AppendedLinkedLayers) > 0
	return parent, lo, nil
}

// base is the image's layer that the container's own is over: storage that cannot shift owners as it mounts puts a copy of it, with
// owners that are mapped, in its place.
func (c *Container) base(parent string) (string, error) {
	if c.users == nil || c.image == "" || parent == "" {
		return parent, nil
	}
	img, err := c.s.st.Image(c.image)
	if err != nil {
		return "", fmt.Errorf("looking up the base image: %w", translate(err))
	}
	if slices.Contains(img.MappedTopLayers, parent) {
		return img.TopLayer, nil
	}
	return parent, nil
}

// grow adds a layer and its history entry, unless there are layers without history below.
func grow(cfg *config.Image, diffID digest.Digest, h config.History) {
	complete := filled(cfg.History) == len(cfg.RootFS.DiffIDs)
	cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, diffID)
	if complete {
		cfg.History = append(cfg.History, h)
	}
}

// addHistory appends the entries of this commit (containers.md §11.3).
func (c *Container) addHistory(cfg *config.Image, o Output, created time.Time, empty bool) {
	below := len(cfg.RootFS.DiffIDs)
	if !empty {
		below--
	}
	if filled(cfg.History) != below {
		cfg.History = nil // the base has layers without history; counts must match
		return
	}
	first := len(cfg.History)
	cfg.History = append(cfg.History, c.rec.PrependedEmptyLayers...)
	cfg.History = append(cfg.History, config.History{
		Created: &created, CreatedBy: c.createdBy(), Author: cfg.Author, Comment: c.rec.HistoryComment, EmptyLayer: empty,
	})
	cfg.History = append(cfg.History, c.rec.AppendedEmptyLayers...)
	if o.Timestamp != nil || o.Epoch != nil {
		for i := range cfg.History[first:] {
			cfg.History[first+i].Created = &created // also of what was done before this commit
		}
	}
	if base := c.rec.FromImage; base != "" {
		h := &cfg.History[first]
		h.Comment = strings.TrimSpace(h.Comment + " FROM " + base)
	}
}

// filled counts the entries of a history that stand for a layer.
func filled(history []config.History) (n int) {
	for _, h := range history {
		if !h.EmptyLayer {
			n++
		}
	}
	return n
}

func (c *Container) createdBy() string {
	if c.rec.ImageCreatedBy != "" {
		return c.rec.ImageCreatedBy
	}
	if len(c.cfg.Config.Shell) > 0 {
		return strings.Join(c.cfg.Config.Shell, " ")
	}
	return "/bin/sh"
}

// created is the time of a new image and of its new history: fixed by o, else now.
func (s *Store) created(o Output) time.Time {
	switch {
	case o.Timestamp != nil:
		return o.Timestamp.UTC()
	case o.Epoch != nil:
		return o.Epoch.UTC()
	}
	return s.o.Now().UTC()
}

// WriteImage writes the configuration and manifest of an image whose layers are in storage already and
// gives it names (full references); a name that another image has moves. cfg.RootFS is set from the
// layers; cfg.Created is kept if set, else it is o's fixed time or now. An image that exists already only gets the names.
func (s *Store) WriteImage(_ context.Context, cfg *config.Image, top string, names []string, o Output) (*Image, error) {
	layers, err := s.Layers(top)
	if err != nil {
		return nil, fmt.Errorf("reading layers: %w", err)
	}
	described := make([]manifest.Layer, len(layers))
	for i, l := range layers {
		described[i] = manifest.Layer{DiffID: l.DiffID, Size: l.Size}
		s.made.Delete(l.ID) // whoever removes the image would remove it
	}
	cfg = cfg.Clone()
	blobs, err := s.imageBlobs(cfg, described, o)
	if err != nil {
		return nil, err
	}
	return s.storeImage(blobs, top, names, *cfg.Created)
}

// imageBlobs finishes the configuration of an image with these layers and returns its blobs.
func (s *Store) imageBlobs(cfg *config.Image, layers []manifest.Layer, o Output) (manifest.Blobs, error) {
	s.finish(cfg, layers, o)
	format := manifest.OCI
	if o.Format == FormatDocker {
		format = manifest.Docker
	}
	return manifest.Build(format, cfg, layers)
}

// finish sets what only the moment of writing knows: layers, time, identity.
func (s *Store) finish(cfg *config.Image, layers []manifest.Layer, o Output) {
	cfg.RootFS.Type, cfg.RootFS.DiffIDs = "layers", make([]digest.Digest, len(layers))
	for i, l := range layers {
		cfg.RootFS.DiffIDs[i] = l.DiffID
	}
	fixed := o.Timestamp != nil || o.Epoch != nil
	if cfg.Created == nil || fixed {
		t := s.created(o)
		cfg.Created = &t
	}
	if o.OmitHistory {
		cfg.History = nil
	}
	if o.IdentityLabel != nil && *o.IdentityLabel {
		if cfg.Config.Labels == nil {
			cfg.Config.Labels = map[string]string{}
		}
		cfg.Config.Labels["io.buildah.version"] = version.Version
	}
	if o.Format != FormatDocker && !o.NoCreatedAnnotation {
		if cfg.Annotations == nil {
			cfg.Annotations = map[string]string{}
		}
		cfg.Annotations["org.opencontainers.image.created"] = cfg.Created.Format(time.RFC3339Nano)
	}
	for _, k := range o.UnsetAnnotations {
		delete(cfg.Annotations, k)
	}
	if o.Format == FormatDocker { // which also keeps the image apart from the same in OCI's format: storage has one manifest for an ID
		copied := cfg.Clone().Config
		cfg.ContainerConfig = &copied
	}
}

// warnReplaced says which names come to stand for another manifest than before, without being among those of the image that is written.
func (s *Store) warnReplaced(rec *storage.Image, names []string) {
	others := slices.DeleteFunc(slices.Clone(rec.Names), func(n string) bool { return slices.Contains(names, n) })
	if len(others) > 0 {
		s.o.Log.Warn("an image that differs in its annotations only has the same ID: its names stand for the new one now", "image", rec.ID, "names", others)
	}
}

// storeImage writes the image record in one transaction, with the names and keys of data that the image
// library itself uses (decisions.md §1.11), so that other tools find everything where they expect it.
func (s *Store) storeImage(b manifest.Blobs, top string, names []string, created time.Time) (*Image, error) {
	id, man := b.ConfigDigest.Encoded(), b.ManifestDigest
	asManifest := func([]byte) (digest.Digest, error) { return man, nil }
	byDigest := storage.ImageDigestManifestBigDataNamePrefix + "-" + man.String()
	o := storage.ImageOptions{
		CreationDate: created, Digest: man,
		BigData: []storage.ImageBigDataOption{
			{Key: b.ConfigDigest.String(), Data: b.Config, Digest: b.ConfigDigest},
			{Key: byDigest, Data: b.Manifest, Digest: man},
			{Key: storage.ImageDigestBigDataKey, Data: b.Manifest, Digest: man},
		},
	}
	meta := fmt.Sprintf(`{"signatures-sizes":{"%s":[]}}`, man)
	rec, err := s.st.CreateImage(id, names, top, meta, &o)
	if errors.Is(err, storage.ErrDuplicateName) { // a name that another image has moves by being added
		rec, err = s.st.CreateImage(id, nil, top, meta, &o)
		if err == nil {
			rec, err = s.addNames(id, names)
		}
	}
	if errors.Is(err, storage.ErrDuplicateID) {
		rec, err = s.st.Image(id)
		if err == nil && rec.BigDataDigests[storage.ImageDigestBigDataKey] != man { // storage has one manifest for an ID: the last one counts
			s.warnReplaced(rec, names)
			err = errors.Join(s.st.SetImageBigData(id, byDigest, b.Manifest, asManifest),
				s.st.SetImageBigData(id, storage.ImageDigestBigDataKey, b.Manifest, asManifest))
		}
		if err == nil {
			rec, err = s.addNames(id, names)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("writing image %s: %w", id, translate(err))
	}
	s.o.Log.Debug("created new image ID " + id)
	return s.image(rec), nil
}

// addNames gives an image names, which move from those that have them, and reads its record again.
func (s *Store) addNames(id string, names []string) (*storage.Image, error) {
	if len(names) > 0 {
		if err := s.st.AddNames(id, names); err != nil {
			return nil, err
		}
	}
	return s.st.Image(id)
}

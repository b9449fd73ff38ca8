package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/state"
)

// From makes a working container of an image, pulling it as o.Pull says; [Scratch] is the empty image
// (containers.md §4). ONBUILD triggers are not run: see imagebuildah.Trigger. If anything fails no container is left.
func (s *Store) From(ctx context.Context, image string, o FromOptions) (*Container, error) {
	if err := o.Sandbox.Check(); err != nil {
		return nil, err
	}
	who, err := s.usersOrDefault(o.Users)
	if err != nil {
		return nil, err
	}
	own, err := s.resolve(who)
	if err != nil {
		return nil, err
	}
	var img *Image
	if image != Scratch && image != "" {
		if img, err = s.Pull(ctx, image, o.Pull); err != nil {
			return nil, err
		}
	}
	cfg, err := s.baseConfig(ctx, img, o.Pull.Platform)
	if err != nil {
		return nil, err
	}
	rec, err := s.createContainer(img, image, own, o)
	if err != nil {
		return nil, err
	}
	c, err := s.record(ctx, rec, img, image, cfg, own, o)
	if err == nil {
		err = c.remap(ctx, c.rec.TopLayer)
	}
	if err == nil && c.users != nil {
		err = c.mounted(func(string) error { return nil }) // which gives the root directory to the container
	}
	if err == nil {
		err = c.noteMade()
	}
	if err != nil {
		return nil, errors.Join(err, s.st.DeleteContainer(rec.ID))
	}
	return c, nil
}

// noteMade keeps the time from which on what happens to the container's files is its own doing.
func (c *Container) noteMade() error {
	t, err := layer.Moment(c.s.st)
	if err != nil || t.IsZero() {
		return err
	}
	return c.update(func() error { c.rec.Made, err = state.MadeAt(t, c.dir); return err })
}

// baseConfig is the configuration a container starts with.
func (s *Store) baseConfig(ctx context.Context, img *Image, p Platform) (*config.Image, error) {
	host := HostPlatform()
	if img == nil {
		return config.New(first(p.OS, host.OS), first(p.Arch, host.Arch), p.Variant), nil
	}
	cfg, err := img.Config(ctx)
	if err != nil {
		return nil, err
	}
	cfg.OS, cfg.Architecture = first(cfg.OS, p.OS, host.OS), first(cfg.Architecture, p.Arch, host.Arch)
	return cfg, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// createContainer makes the storage container under the first free name. It is never volatile: other
// tools would not see it, and could remove its base (decisions.md §1.1).
func (s *Store) createContainer(img *Image, typed string, own users, o FromOptions) (*storage.Container, error) {
	imageID := ""
	if img != nil {
		imageID = img.ID()
	}
	box, err := s.withDefaults(o.Sandbox)
	if err != nil {
		return nil, err
	}
	opts := storage.ContainerOptions{LabelOpts: labelOptions(box.Security.Options)}
	if opts.IDMappingOptions, err = own.mapping(s); err != nil {
		return nil, err
	}
	base := o.Name
	if base == "" {
		base = strings.TrimPrefix(containerPrefix(s.nameFor(img, typed))+"-"+first(o.Suffix, "working-container"), "-")
	}
	for n := 0; ; n++ {
		name := base
		if n > 0 {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		if o.Name == "" && s.taken(name) {
			continue // storage would make a layer first, and then take it back
		}
		rec, err := s.st.CreateContainer("", []string{name}, imageID, "", "", &opts)
		if err == nil {
			return rec, nil
		}
		if !errors.Is(err, storage.ErrDuplicateName) {
			return nil, fmt.Errorf("creating container: %w", translate(err))
		}
		if o.Name != "" {
			other := ""
			if rec, err := s.st.Container(name); err == nil {
				other = rec.ID
			}
			return nil, fmt.Errorf("creating container: the container name %q is already in use by %s. You have to remove that container to be able to reuse that name: %w", name, other, ErrNameInUse)
		}
	}
}

// taken tells whether a container has that name.
func (s *Store) taken(name string) bool {
	rec, err := s.st.Container(name)
	return err == nil && slices.Contains(rec.Names, name)
}

// nameFor is what a generated container name is made from (exact.md §6.8).
func (s *Store) nameFor(img *Image, typed string) string {
	if img == nil {
		return ""
	}
	if ref, err := parseTransport(typed); err == nil && ref != nil {
		if name := s.bestName(&img.rec, ""); name != "" {
			return name
		}
		return ref.Transport().Name()
	}
	return strings.TrimPrefix(strings.TrimPrefix(typed, storagePrefix), "docker://")
}

// record writes the container's record (containers.md §3, §4).
func (s *Store) record(ctx context.Context, rec *storage.Container, img *Image, typed string, cfg *config.Image, own users, o FromOptions) (*Container, error) {
	dir, err := s.st.ContainerDirectory(rec.ID)
	if err != nil {
		return nil, err
	}
	r := state.New()
	r.Container, r.ContainerID = rec.Names[0], rec.ID
	r.MountLabel, r.ProcessLabel = rec.MountLabel(), rec.ProcessLabel()
	r.DefaultMountsFilePath = s.o.MountsFile
	r.SetIDMaps(idMaps(rec.UIDMap), idMaps(rec.GIDMap))
	r.SetFormat(string(o.Format))
	if img != nil {
		if err := s.recordBase(ctx, r, img, typed, cfg); err != nil {
			return nil, err
		}
	}
	host, err := s.withDefaults(Sandbox{})
	if err != nil {
		return nil, err
	}
	box, err := s.withNamespaces(o.Sandbox)
	if err != nil {
		return nil, err
	}
	if err := setSandbox(r, box, host.Security.Base); err != nil {
		return nil, err
	}
	r.NamespaceOptions = append(r.NamespaceOptions, state.Namespace{Name: "user", Host: !own.private, Path: own.join})
	r.IDMappingOptions.AutoUserNs = own.auto != nil
	c := &Container{id: rec.ID, names: rec.Names, image: rec.ImageID, dir: dir, rec: r}
	c.users = idsOf(rec.UIDMap, rec.GIDMap)
	c.s, c.layer, c.mount, c.cfg = s, rec.LayerID, rec.ID, cfg
	if err := c.save(); err != nil {
		return nil, err
	}
	return c, c.load()
}

// recordBase notes what the container was made from.
func (s *Store) recordBase(ctx context.Context, r *state.Record, img *Image, typed string, cfg *config.Image) error {
	raw, err := img.RawConfig(ctx)
	if err != nil {
		return err
	}
	man, _, err := img.Manifest(ctx)
	if err != nil {
		return err
	}
	r.FromImage, r.FromImageID, r.FromImageDigest = s.bestName(&img.rec, strings.TrimPrefix(typed, "docker://")), img.ID(), img.Digest().String()
	r.Config, r.Manifest, r.TopLayer = raw, man, img.TopLayer()
	if cfg.Annotations == nil {
		cfg.Annotations = map[string]string{}
	}
	cfg.Annotations["org.opencontainers.image.base.digest"] = r.FromImageDigest
	delete(cfg.Annotations, "org.opencontainers.image.base.name")
	if r.FromImage != "" {
		cfg.Annotations["org.opencontainers.image.base.name"] = r.FromImage
	}
	return nil
}

// adopt makes a record for a container of another tool.
func (c *Container) adopt(rec *storage.Container) error {
	var img *Image
	ctx := context.Background()
	if rec.ImageID != "" {
		found, err := c.s.Image(rec.ImageID)
		if err != nil {
			return err
		}
		img = found
	}
	cfg, err := c.s.baseConfig(ctx, img, Platform{})
	if err != nil {
		return err
	}
	if len(rec.Names) == 0 {
		rec.Names = []string{rec.ID}
	}
	adopted, err := c.s.record(ctx, rec, img, rec.ImageID, cfg, users{private: idsOf(rec.UIDMap, rec.GIDMap) != nil}, FromOptions{})
	if err != nil {
		return err
	}
	*c = *adopted
	return nil
}

// labelOptions are the SELinux ones among --security-opt values.
func labelOptions(options []string) []string {
	var labels []string
	for _, o := range options {
		if l, ok := strings.CutPrefix(o, "label="); ok {
			labels = append(labels, l)
		}
	}
	return labels
}

func idMaps(maps []idtools.IDMap) []state.IDMap {
	list := make([]state.IDMap, 0, len(maps))
	for _, m := range maps {
		list = append(list, state.IDMap{ContainerID: uint32(m.ContainerID), HostID: uint32(m.HostID), Size: uint32(m.Size)})
	}
	return list
}

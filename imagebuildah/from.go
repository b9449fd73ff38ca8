package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// from starts the stage: on an earlier stage, an image, or nothing.
func (st *stage) from(ctx context.Context) error {
	b := st.b
	if err := st.before(ctx); err != nil {
		return err
	}
	name, err := b.baseName(st.def.Index)
	if err != nil {
		return err
	}
	if err := st.labelled(name); err != nil {
		return err
	}
	shown := "FROM "
	if st.def.Platform != "" {
		shown += "--platform=" + st.def.Platform + " "
	}
	shown += name
	if st.def.Name != "" {
		shown += " AS " + st.def.Name
	}
	st.say("STEP 1/%d: %s", len(st.def.Commands)+1, shown)
	if k, ok := b.baseStage(st.def.Index); ok {
		from := b.done[k]
		st.cfg, st.base, st.baseRef, st.top, st.newFrom = from.cfg.Clone(), from.base, from.baseRef, from.top, from.newFrom
		st.scope, st.touched = from.scope, from.touched
		return st.variables()
	}
	if st.cfg, st.base, err = b.baseImage(ctx, name, st.def.Index); err != nil {
		return err
	}
	if st.base != nil {
		st.top, st.baseRef = st.base.TopLayer(), name
	}
	if name, files := b.baseFiles(st.def.Index); files {
		if err := st.fromFiles(name); err != nil {
			return err
		}
	}
	st.newFrom = len(st.cfg.History)
	if b.o.DropLabels {
		st.cfg.Config.Labels = nil
	}
	if _, ok := st.cfg.Config.Getenv("PATH"); !ok && st.cfg.OS != "windows" {
		st.cfg.Config.Env = append(st.cfg.Config.Env, "PATH="+config.DefaultPath)
	}
	st.scope = expand.Scope{Escape: b.plan.Escape, Env: st.cfg.Config.Env}
	return st.variables()
}

// before makes sure of the stages that this one cannot begin without. They are there, unless triggers have asked for it.
func (st *stage) before(ctx context.Context) error {
	stages, err := st.b.plan.Before(st.def.Index, st.b.sources)
	if err != nil {
		return err
	}
	for _, k := range stages {
		if err := st.ensure(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// variables are those of --env: an ENV in front of every stage's instructions (dockerfile.md §16.1).
func (st *stage) variables() error {
	if len(st.b.o.Env) == 0 {
		return nil
	}
	text := "/bin/sh -c #(nop) ENV"
	for _, kv := range st.b.o.Env {
		k, v, _ := strings.Cut(kv, "=")
		if err := config.Env(k, v)(st.cfg); err != nil {
			return err
		}
		st.scope.Set(k, v)
		text += fmt.Sprintf(" %q=%q", k, v)
	}
	st.history(config.History{CreatedBy: text, EmptyLayer: true})
	return nil
}

// baseText is what a stage's FROM names, expanded.
func (b *build) baseText(i int) (string, error) {
	st := b.plan.Stages[i]
	name, err := b.global.Expand(st.BaseName)
	if err == nil && name == "" {
		err = fmt.Errorf("base name (%s) should not be blank", st.BaseName)
	}
	if err != nil {
		return "", b.plan.At(st.Location, err)
	}
	if i == 0 && b.o.From != "" {
		name = b.o.From
	}
	return name, nil
}

// baseStage is the stage that a stage begins with, if it is one and --build-context gives nothing in its place.
func (b *build) baseStage(i int) (int, bool) {
	name, err := b.baseText(i)
	if err != nil {
		return 0, false
	}
	return b.plan.Stage(name, i)
}

// baseName is the image of a stage's FROM, or the one that --build-context gives in its place.
func (b *build) baseName(i int) (string, error) {
	name, err := b.baseText(i)
	if n, ok := b.replaced(name); ok && err == nil {
		if ref, image := imageContext(n.value); image {
			name = ref
		}
	}
	return name, err
}

// baseFiles is the name of the context that a stage begins with, if --build-context gives one of files, which are all that it gives to the stage
// (dockerfile.md §11.1).
func (b *build) baseFiles(i int) (string, bool) {
	name, err := b.baseText(i)
	if err != nil {
		return "", false
	}
	n, ok := b.replaced(name)
	if !ok {
		return "", false
	}
	_, image := imageContext(n.value)
	return name, !image
}

// fromFiles has the files of a context copied before anything else.
func (st *stage) fromFiles(name string) error {
	cmd, err := plan.Instruction("COPY --from=context . /")
	if err != nil {
		return err
	}
	cmd.(*instructions.CopyCommand).From = name
	st.queue = append(st.queue, queued{"", cmd, st.def.Location, 0})
	return nil
}

// baseImage is the configuration and the layers that a stage starts with.
func (b *build) baseImage(ctx context.Context, name string, i int) (*config.Image, *builder.Image, error) {
	if _, files := b.baseFiles(i); name == builder.Scratch || files {
		p, host := b.o.Pull.Platform, builder.HostPlatform()
		cfg := config.New(first(p.OS, host.OS), first(p.Arch, host.Arch), p.Variant)
		return cfg, nil, nil
	}
	o, err := b.basePull(i)
	if err != nil {
		return nil, nil, err
	}
	img, err := b.pull(ctx, name, o)
	if err != nil {
		if !errors.Is(err, builder.ErrNoImage) {
			err = fmt.Errorf("%s: %w: %w", name, builder.ErrNoImage, err)
		}
		return nil, nil, fmt.Errorf("creating build container: %w", err)
	}
	cfg, err := img.Config(ctx)
	if err != nil {
		return nil, nil, err
	}
	b.compare(cfg, o.Platform)
	cfg.Container = "" // of which the base was made, not this image
	return cfg, img, nil
}

// compare warns of a base image for another platform than the one asked for: the build goes on with it.
func (b *build) compare(cfg *config.Image, want builder.Platform) {
	got := builder.Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}
	if want == (builder.Platform{}) {
		return
	}
	want = want.OrHost()
	if got.OS == want.OS && got.Arch == want.Arch && (want.Variant == "" || got.Variant == want.Variant) {
		return
	}
	b.warn(fmt.Sprintf("image platform (%s) does not match the expected platform (%s)", got, want))
}

// basePull says how the base of a stage is fetched: for the platform that FROM asks for, else for the build's.
func (b *build) basePull(i int) (builder.PullOptions, error) {
	st, o := b.plan.Stages[i], b.o.Pull
	if st.Platform == "" {
		return o, nil
	}
	text, err := b.global.Expand(st.Platform)
	if err == nil && text == "" {
		err = fmt.Errorf("empty platform value from expression %s", st.Platform)
	}
	if err == nil {
		o.Platform, err = builder.ParsePlatform(text)
	}
	if err != nil {
		return o, b.plan.At(st.Location, err)
	}
	return o, nil
}

// reference is where the image that a Dockerfile names is. Archives and layouts are files of the context, whether their paths
// begin with a slash or not (exact.md §4.1.2). Links in a layout are refused: they could lead out of the context. Layouts that
// --build-context names are the caller's own.
func (j *job) reference(name string) (string, error) {
	if slices.Contains(j.layouts, name) {
		return name, nil
	}
	transport, rest, _ := strings.Cut(name, ":")
	if !slices.Contains([]string{"oci", "oci-archive", "docker-archive", "dir"}, transport) || rest == "" {
		return name, nil
	}
	file, tag := rest, ""
	if i := strings.LastIndex(rest, ":"); i >= 0 && transport != "dir" {
		file, tag = rest[:i], rest[i:]
	}
	f, err := j.context.OpenPath(file)
	if err != nil {
		return "", fmt.Errorf("FROM %s: %w", name, err)
	}
	defer f.Close()
	place, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	err = filepath.WalkDir(place, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() {
			err = fmt.Errorf("FROM %s: %s is no regular file", name, strings.TrimPrefix(p, place))
		}
		return err
	})
	return transport + ":" + place + tag, err
}

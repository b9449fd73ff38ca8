package imagebuildah

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
)

// from starts the stage: on an earlier stage, an image, or nothing.
func (st *stage) from(ctx context.Context) error {
	b := st.b
	name, err := b.baseName(st.def.Index)
	if err != nil {
		return err
	}
	shown := "FROM " + name
	if st.def.Name != "" {
		shown += " AS " + st.def.Name
	}
	st.say("STEP 1/%d: %s", len(st.def.Commands)+1, shown)
	if k, ok := b.plan.Stage(name, st.def.Index); ok {
		from := b.done[k]
		st.cfg, st.base, st.baseRef, st.top, st.newFrom = from.cfg.Clone(), from.base, from.baseRef, from.top, from.newFrom
		st.scope, st.touched = from.scope, from.touched
		return nil
	}
	if st.cfg, st.base, err = b.baseImage(ctx, name); err != nil {
		return err
	}
	if st.base != nil {
		st.top, st.baseRef = st.base.TopLayer(), name
	}
	st.newFrom = len(st.cfg.History)
	if _, ok := st.cfg.Config.Getenv("PATH"); !ok {
		st.cfg.Config.Env = append(st.cfg.Config.Env, "PATH="+config.DefaultPath)
	}
	st.scope = expand.Scope{Escape: b.plan.Escape, Env: st.cfg.Config.Env}
	return nil
}

// baseName is the expanded image of a stage's FROM.
func (b *build) baseName(i int) (string, error) {
	st := b.plan.Stages[i]
	name, err := b.global.Expand(st.BaseName)
	if err == nil && name == "" {
		err = fmt.Errorf("base name (%s) should not be blank", st.BaseName)
	}
	if err != nil {
		return "", b.plan.At(st.Location, err)
	}
	return name, nil
}

// baseImage is the configuration and the layers that a stage starts with.
func (b *build) baseImage(ctx context.Context, name string) (*config.Image, *builder.Image, error) {
	if name == builder.Scratch {
		p, host := b.o.Pull.Platform, builder.HostPlatform()
		cfg := config.New(first(p.OS, host.OS), first(p.Arch, host.Arch), p.Variant)
		return cfg, nil, nil
	}
	img, err := b.pull(ctx, name, b.o.Pull)
	if err != nil {
		if !errors.Is(err, builder.ErrNoImage) {
			err = fmt.Errorf("%s: %w: %w", name, builder.ErrNoImage, err)
		}
		return nil, nil, fmt.Errorf("creating build container: %w", err)
	}
	cfg, err := img.Config(ctx)
	return cfg, img, err
}

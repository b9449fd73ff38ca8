package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/imagebuildah/expand"
)

// Trigger runs the ONBUILD instructions of a new container's base in it, and clears them (cli.md §9.1). They mean what they
// mean after FROM; o.Context is where COPY and ADD find their files. Everything else of o that is about a Dockerfile is not used.
// If one fails the container is as the ones before it left it.
func Trigger(ctx context.Context, s *builder.Store, c *builder.Container, o Options) (err error) {
	cfg := c.Config()
	if len(cfg.Config.OnBuild) == 0 {
		return nil
	}
	o.Name, o.File, o.NoLayers = first(c.FromImage(), c.FromImageID()), strings.NewReader("FROM base\n"), true
	j, err := newJob(s, o)
	if err != nil {
		return err
	}
	if j.context, err = rootfs.Open(o.Context, rootfs.Apply); err != nil {
		return fmt.Errorf("opening build context: %w", err)
	}
	defer j.context.Close()
	if err := j.openers(ctx, o); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	b := j.builds[0]
	if err := b.globals(); err != nil {
		return err
	}
	j.console = &console{}
	j.console.add(o.Out, o.Err)
	st := &stage{b: b, def: b.plan.Stages[0], part: j.console.list[0], cfg: cfg, own: len(cfg.History), newFrom: len(cfg.History),
		scope: expand.Scope{Escape: b.plan.Escape, Env: cfg.Config.Env}}
	st.def.Location = nil // they stand in no file
	if err := st.triggers(); err != nil {
		return fmt.Errorf("ONBUILD of %s: %w", o.Name, err)
	}
	for i := range st.queue {
		st.queue[i].label = fmt.Sprintf("STEP %d", i+1)
	}
	if err := st.inContainer(ctx, c); err != nil {
		return fmt.Errorf("ONBUILD of %s: %w", o.Name, err)
	}
	return nil
}

// inContainer does what is queued in a container instead of layers.
func (st *stage) inContainer(ctx context.Context, c *builder.Container) error {
	for len(st.queue) > 0 {
		steps, err := st.resolve(ctx)
		if err != nil {
			return err
		}
		for _, s := range steps {
			st.say("%s: %s", s.label, s.text)
			if s.do == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := c.Workspace.Configure(is(s.cfg)); err != nil {
				return err
			}
			if err := s.do(&c.Workspace); err != nil {
				return st.b.plan.At(s.where, &StepError{s.text, err})
			}
		}
	}
	return c.Edit(st.edit())
}

// edit is what the steps have made of the configuration. Their history is told by the next commit, whose layer has their files.
func (st *stage) edit() builder.Edit {
	var history []string
	for _, h := range st.cfg.History[st.own:] {
		history = append(history, h.CreatedBy)
	}
	st.cfg.History = st.cfg.History[:st.own]
	return builder.Edit{Changes: []config.Change{is(st.cfg)}, History: history}
}

// is replaces a configuration.
func is(cfg *config.Image) config.Change {
	return func(i *config.Image) error { *i = *cfg.Clone(); return nil }
}

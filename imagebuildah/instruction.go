package imagebuildah

import (
	"context"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder/config"
)

// triggers runs the ONBUILD instructions of the base right after FROM (dockerfile.md §9).
func (st *stage) triggers(ctx context.Context) error {
	list := st.cfg.Config.OnBuild
	st.cfg.Config.OnBuild = nil
	for _, line := range list {
		cmd, err := parseOne(line)
		if err != nil {
			return st.b.plan.At(st.def.Location, &StepError{"ONBUILD " + line, err})
		}
		st.b.say(st, "ONBUILD %s", text(cmd))
		if err := st.execute(ctx, cmd, st.def.Location); err != nil {
			return err
		}
	}
	return nil
}

// step does one instruction.
func (st *stage) step(ctx context.Context, cmd instructions.Command, raw string) error {
	if err := supported(cmd); err != nil {
		return err
	}
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		return st.arg(c)
	case *instructions.ExposeCommand:
		if err := st.exposeWords(c); err != nil {
			return err
		}
	case instructions.SupportsSingleWordExpansion:
		if _, run := cmd.(*instructions.RunCommand); !run {
			env := st.env // one instruction sees one state of the environment
			if err := c.Expand(func(w string) (string, error) { return expandWord(st.b.plan.Escape, w, env) }); err != nil {
				return err
			}
		}
	}
	changes, err := metadata(cmd, st)
	if err != nil {
		return err
	}
	if changes != nil {
		return st.configure(cmd, changes, raw)
	}
	switch c := cmd.(type) {
	case *instructions.RunCommand:
		return st.run(ctx, c)
	case *instructions.CopyCommand:
		return st.copy(ctx, c)
	case *instructions.AddCommand:
		return st.add(ctx, c)
	case *instructions.WorkdirCommand:
		return st.workdir(ctx, c, raw)
	}
	return fmt.Errorf("instruction %s is not supported", strings.ToUpper(cmd.Name()))
}

// configure does an instruction that only changes the configuration: it costs no layer and no container.
func (st *stage) configure(cmd instructions.Command, changes []config.Change, raw string) error {
	for _, c := range changes {
		if err := c(st.cfg); err != nil {
			return err
		}
	}
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			st.env = setenv(st.env, kv.Key, kv.Value)
		}
	case *instructions.CmdCommand:
		st.cmdSet = true
	}
	st.history(config.History{CreatedBy: "/bin/sh -c #(nop) " + raw, EmptyLayer: true})
	return nil
}

func (st *stage) history(h config.History) {
	if len(st.cfg.History) == st.newFrom && st.baseRef != "" {
		h.Comment = "FROM " + st.baseRef
	}
	st.cfg.History = append(st.cfg.History, h)
}

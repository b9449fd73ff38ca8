package imagebuildah

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// triggers queues the ONBUILD instructions of the base right after FROM (dockerfile.md §9).
func (st *stage) triggers() error {
	list := st.cfg.Config.OnBuild
	st.cfg.Config.OnBuild = nil
	for _, line := range list {
		cmd, err := plan.Instruction(line)
		if err != nil {
			return st.b.plan.At(st.def.Location, &StepError{"ONBUILD " + line, err})
		}
		st.fired = append(st.fired, cmd)
		st.queue = append(st.queue, queued{"ONBUILD", cmd, st.def.Location, 0})
	}
	return nil
}

// step does one instruction.
func (st *stage) step(ctx context.Context, cmd instructions.Command, raw string) error {
	if err := st.b.supported(cmd); err != nil {
		return err
	}
	if c, ok := cmd.(*instructions.ArgCommand); ok {
		return st.arg(c)
	}
	cmd, err := expanded(cmd, &st.scope)
	if err != nil {
		return err
	}
	changes, err := metadata(cmd, st, st.cmdSet)
	if err != nil {
		return err
	}
	if changes != nil {
		return st.configure(cmd, changes, raw)
	}
	switch c := cmd.(type) {
	case *plan.Run:
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

// expanded is a copy of an instruction with its variables replaced: the plan stays as it is, for it may be built again for
// another platform. One instruction sees one state of the variables.
func expanded(cmd instructions.Command, scope *expand.Scope) (instructions.Command, error) {
	cmd = clone(cmd)
	var err error
	switch c := cmd.(type) {
	case *plan.Run: // only its mounts have variables: see run
	case *instructions.ExposeCommand:
		var ports []string
		for _, p := range c.Ports {
			words, err := scope.Words(p)
			if err != nil {
				return nil, err
			}
			ports = append(ports, words...)
		}
		c.Ports = ports
	case instructions.SupportsSingleWordExpansion:
		err = c.Expand(scope.Expand)
	}
	if c, ok := cmd.(instructions.SupportsSingleWordExpansionRaw); ok && err == nil {
		err = c.ExpandRaw(scope.Body)
	}
	return cmd, err
}

// clone copies an instruction as far as expansion changes it in place.
func clone(cmd instructions.Command) instructions.Command {
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		d := *c
		d.Env = slices.Clone(c.Env)
		return &d
	case *instructions.LabelCommand:
		d := *c
		d.Labels = slices.Clone(c.Labels)
		return &d
	case *instructions.VolumeCommand:
		d := *c
		d.Volumes = slices.Clone(c.Volumes)
		return &d
	case *instructions.CopyCommand:
		d := *c
		d.SourcePaths, d.SourceContents = slices.Clone(c.SourcePaths), slices.Clone(c.SourceContents)
		return &d
	case *instructions.AddCommand:
		d := *c
		d.SourcePaths, d.SourceContents = slices.Clone(c.SourcePaths), slices.Clone(c.SourceContents)
		return &d
	case *instructions.ExposeCommand:
		d := *c
		return &d
	case *instructions.UserCommand:
		d := *c
		return &d
	case *instructions.WorkdirCommand:
		d := *c
		return &d
	case *instructions.StopSignalCommand:
		d := *c
		return &d
	}
	return cmd
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
			st.scope.Set(kv.Key, kv.Value)
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

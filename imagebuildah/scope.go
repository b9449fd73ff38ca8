package imagebuildah

import (
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// globals evaluates the automatic arguments and the ARGs before the first FROM (dockerfile.md §3.4, §3.5).
func (b *build) globals() error {
	target := b.o.Pull.Platform.OrHost()
	b.global = expand.Scope{Escape: b.plan.Escape}
	for _, kv := range automatic(builder.HostPlatform(), target, b.targetName()) {
		if v, ok := b.o.Args[kv[0]]; ok {
			kv[1] = v
		}
		b.global.Set(kv[0], kv[1])
	}
	for _, cmd := range b.plan.Global {
		if err := b.global.Arg(&cmd, b.o.Args, nil); err != nil {
			return b.plan.At(cmd.Location(), err)
		}
	}
	return b.plan.Resolve(b.global.Expand)
}

// automatic are the arguments that every build has.
func automatic(host, target builder.Platform, stage string) [][2]string {
	var list [][2]string
	for _, side := range []struct {
		prefix string
		builder.Platform
	}{{"BUILD", host}, {"TARGET", target}} {
		list = append(list, [2]string{side.prefix + "PLATFORM", side.String()}, [2]string{side.prefix + "OS", side.OS},
			[2]string{side.prefix + "OSVERSION", ""}, [2]string{side.prefix + "ARCH", side.Arch}, [2]string{side.prefix + "VARIANT", side.Variant})
	}
	return append(list, [2]string{"TARGETSTAGE", stage})
}

// targetName is TARGETSTAGE: what the caller asked for, else the last stage's name.
func (b *build) targetName() string {
	return first(b.o.Target, b.plan.Stages[len(b.plan.Stages)-1].Name, "default")
}

// foreseen is what is known of a stage before anything is pulled.
type foreseen struct {
	plan.Sources
	// end is the scope behind the stage's last instruction.
	end static
}

// sources are what a stage is made from (plan.Sources).
func (b *build) sources(i int) (plan.Sources, error) {
	f, err := b.foreseen[i]()
	return f.Sources, err
}

// foresee finds out what a stage is made from; the scope of the stage that it begins with is known by then.
func (b *build) foresee(i int) (f foreseen, err error) {
	st := b.plan.Stages[i]
	if f.Base, err = b.baseText(i); err != nil {
		return f, err
	}
	if f.After, err = b.global.Expand(st.After); err != nil {
		return f, b.plan.At(st.Location, err)
	}
	f.end = static{expand.Scope{Escape: b.plan.Escape}}
	if k, ok := b.plan.Stage(f.Base, i); ok {
		below, _ := b.foreseen[k]() // an error is the other stage's
		f.end.Env, f.end.Declared = below.end.Env, below.end.Declared
		for _, c := range b.plan.Stages[k].Commands {
			if on, ok := c.(*instructions.OnbuildCommand); ok {
				if fired, err := plan.Instruction(on.Expression); err == nil { // what is wrong with it is said where it fires
					f.Refs = append(f.Refs, f.end.refs(fired)...)
				}
			}
		}
	}
	for _, c := range st.Commands {
		for _, r := range f.end.refs(c) {
			r.Where, r.Text = c.Location(), text(c)
			f.Refs = append(f.Refs, r)
		}
		f.end.follow(c, b.o.Args, b.global.Env)
	}
	return f, nil
}

// A static scope is what can be known of variables before anything is pulled: the names that --from and from= hold
// are expanded with it, to know what a stage needs.
type static struct{ expand.Scope }

// follow does what an instruction does to the scope; errors are said when the instruction is executed.
func (s *static) follow(c instructions.Command, given map[string]string, outer []string) {
	switch c := c.(type) {
	case *instructions.ArgCommand:
		_ = s.Arg(c, given, outer)
	case *instructions.EnvCommand:
		before := s.Scope
		for _, kv := range c.Env {
			key, err1 := before.Expand(kv.Key)
			value, err2 := before.Expand(kv.Value)
			if err1 == nil && err2 == nil {
				s.Set(key, value)
			}
		}
	}
}

func (s *static) refs(c instructions.Command) []plan.Ref {
	list := plan.Refs(c)
	for i, r := range list {
		if name, err := s.Expand(r.Name); err == nil && name != "" {
			list[i].Name = name
		}
	}
	return list
}

// arg is ARG: the caller's value, else the default here, else that of the global scope.
func (st *stage) arg(c *instructions.ArgCommand) error {
	if err := st.scope.Arg(c, st.b.o.Args, st.b.global.Env); err != nil {
		return err
	}
	for _, a := range c.Args {
		if _, ok := expand.Get(st.scope.Env, a.Key); !ok && !expand.IsProxy(a.Key) {
			st.b.warn(fmt.Sprintf("missing %q build argument. Try adding %q to the command line", a.Key, fmt.Sprintf("--build-arg %s=<VALUE>", a.Key)))
		}
	}
	st.history(config.History{CreatedBy: "/bin/sh -c #(nop) " + text(c), EmptyLayer: true})
	return nil
}

// declared are the names of all ARGs of the global scope, of the stages that were built and of the triggers that fired there.
func (b *build) declared() map[string]bool {
	used := map[string]bool{}
	see := func(c instructions.Command) {
		if arg, ok := c.(*instructions.ArgCommand); ok {
			for _, a := range arg.Args {
				used[a.Key] = true
			}
		}
	}
	for i := range b.plan.Global {
		see(&b.plan.Global[i])
	}
	for _, st := range b.built() {
		for _, c := range slices.Concat(st.fired, b.plan.Stages[st.def.Index].Commands) {
			see(c)
		}
	}
	for _, kv := range automatic(builder.Platform{}, builder.Platform{}, "") {
		used[kv[0]] = true
	}
	return used
}

package imagebuildah

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
)

// globals evaluates the ARGs before the first FROM and the automatic ones (dockerfile.md §3.4, §3.5).
func (b *build) globals() error {
	host := builder.HostPlatform()
	target := b.o.Pull.Platform
	if target == (builder.Platform{}) {
		target = host
	}
	for prefix, p := range map[string]builder.Platform{"BUILD": host, "TARGET": target} {
		full := p.OS + "/" + p.Arch
		if p.Variant != "" {
			full += "/" + p.Variant
		}
		b.global = append(b.global, prefix+"PLATFORM="+full, prefix+"OS="+p.OS, prefix+"ARCH="+p.Arch, prefix+"VARIANT="+p.Variant)
	}
	slices.Sort(b.global)
	for i, kv := range b.global {
		key, _, _ := strings.Cut(kv, "=")
		if v, ok := b.o.Args[key]; ok {
			b.global[i] = key + "=" + v
			b.used[key] = true
		}
	}
	for _, cmd := range b.plan.Global {
		for _, a := range cmd.Args {
			value, ok := b.o.Args[a.Key]
			b.used[a.Key] = true
			if !ok && a.Value != nil {
				var err error
				if value, err = expandWord(b.plan.Escape, *a.Value, b.global); err != nil {
					return b.plan.At(cmd.Location(), err)
				}
				ok = true
			}
			if ok {
				b.global = setenv(b.global, a.Key, value)
			}
		}
	}
	return nil
}

// baseName is the expanded image of a stage's FROM.
func (b *build) baseName(i int) (string, error) {
	st := b.plan.Stages[i]
	name, err := expandWord(b.plan.Escape, st.BaseName, b.global)
	if err == nil && name == "" {
		err = fmt.Errorf("base name (%s) should not be blank", st.BaseName)
	}
	if err != nil {
		return "", b.plan.At(st.Location, err)
	}
	return name, nil
}

func (st *stage) exposeWords(c *instructions.ExposeCommand) error {
	var ports []string
	for _, p := range c.Ports {
		out, err := expandWord(st.b.plan.Escape, p, st.env)
		if err != nil {
			return err
		}
		ports = append(ports, strings.Fields(out)...)
	}
	c.Ports = ports
	return nil
}

// arg declares build arguments: the caller's value, else the default here, else that of the global scope (dockerfile.md §3.4).
func (st *stage) arg(c *instructions.ArgCommand) error {
	for _, a := range c.Args {
		st.b.used[a.Key] = true
		st.args = append(st.args[:len(st.args):len(st.args)], a.Key)
		value, ok := st.b.o.Args[a.Key]
		switch {
		case ok:
		case a.Value != nil:
			var err error
			if value, err = expandWord(st.b.plan.Escape, *a.Value, st.env); err != nil {
				return err
			}
			ok = true
		default:
			value, ok = getenv(st.b.global, a.Key)
		}
		if ok {
			st.env = setenv(st.env, a.Key, value)
		}
	}
	st.history(config.History{CreatedBy: "/bin/sh -c #(nop) " + text(c), EmptyLayer: true})
	return nil
}

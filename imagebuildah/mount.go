package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// mounts gives a RUN its mounts: those of the whole build, then its own. It returns what they say in the step's key: their
// texts and the digests of what is bound; what a cache, a secret or an agent holds is not part of it (decisions.md §2.1). untouched
// tells afterwards whether what is bound is still the same.
func (st *stage) mounts(ctx context.Context, c *plan.Run, o *builder.RunOptions) (options, content []string, untouched func() (bool, error), err error) {
	b := st.b
	o.Context, o.IgnoreFile, o.RootOwns, o.Secrets, o.Agents = b.context, b.o.IgnoreFile, true, b.o.Secrets, b.o.Agents
	o.Open = func(ctx context.Context, from string) (builder.MountSource, error) {
		t, err := st.tree(ctx, mountFlag, from)
		if err != nil {
			return builder.MountSource{}, err
		}
		root, done, err := t.open()
		return builder.MountSource{Root: root, IgnoreFile: t.ignore, RootOwns: t.context, Close: done}, err
	}
	o.Identify = func(from string) (string, error) {
		t, err := st.tree(ctx, mountFlag, from)
		if err != nil || t.sealed {
			return t.layer, err
		}
		at, err := st.bound(ctx, builder.Mount{From: from}) // a context is what it holds now
		return at.content, err
	}
	if len(b.o.CacheFrom) > 0 {
		o.SeedCache = st.seedCache
	}
	if len(b.o.CacheTo) > 0 {
		o.CacheUsed = func(m builder.CacheMount) { st.caches = append(st.caches, m) }
	}
	var own []builder.Mount
	for _, text := range c.Mounts {
		m, err := builder.ParseMount(text, st.scope.Expand)
		if err != nil {
			return nil, nil, nil, err
		}
		if _, err := m.At(st.cfg.Config.WorkingDir, 0); err != nil { // known before the steps below are executed
			return nil, nil, nil, fmt.Errorf("invalid mount %q: %w", text, err)
		}
		own = append(own, m)
	}
	o.Mounts = append(append(o.Mounts, b.o.Mounts...), own...)
	var states []bound
	for n, m := range o.Mounts {
		if m.Type != "bind" {
			options = append(options, m.String())
			if space := b.o.Args[argCacheSpace]; space != "" && m.Type == "cache" {
				o.Mounts[n].ID = space + "/" + m.ID
			}
			continue
		}
		at, err := st.bound(ctx, m)
		if err != nil {
			return nil, nil, nil, err
		}
		content = append(content, at.content)
		states = append(states, at)
		m.From, m.Source = "", "" // the content says all of them
		options = append(options, m.String())
	}
	return options, content, func() (bool, error) {
		for _, at := range states {
			if same, err := at.untouched(ctx, st); !same || err != nil {
				return false, err
			}
		}
		return true, nil
	}, nil
}

// checkMounts refuses mounts that are wrong whatever variables hold, before anything is done.
func (b *build) checkMounts() error {
	none := expand.Scope{Escape: b.plan.Escape}
	for _, i := range b.needed {
		for _, cmd := range b.plan.Stages[i].Commands {
			run, ok := cmd.(*plan.Run)
			if !ok {
				continue
			}
			for _, m := range run.Mounts {
				if strings.Contains(m, "$") {
					continue
				}
				if _, err := builder.ParseMount(m, none.Expand); err != nil {
					return b.plan.At(run.Location(), &StepError{text(run), err})
				}
			}
		}
	}
	return nil
}

// mountFlag is what names the tree of a mount, for messages.
const mountFlag = "--mount from="

// mountTree finds what a mount is taken from.
func (st *stage) mountTree(ctx context.Context, from string) (tree, error) {
	if from == "" {
		return st.b.files(), nil
	}
	return st.tree(ctx, mountFlag, from)
}

// bound is what a mount binds: content names it; state tells whether it was touched, empty for what cannot be.
type bound struct {
	paths          []string
	from           tree
	o              builder.CopyOptions
	content, state string
}

// bound finds out what a mount binds. A whole stage or image is known by its layers and not read for it.
func (st *stage) bound(ctx context.Context, m builder.Mount) (at bound, err error) {
	t, err := st.mountTree(ctx, m.From)
	if err != nil {
		return at, err
	}
	if t.sealed && (m.Source == "" || m.Source == "/") {
		return bound{content: "layer:" + t.layer}, nil
	}
	at = bound{paths: []string{first(m.Source, "/")}, from: t, o: builder.CopyOptions{NoWildcard: true, KeepOwner: m.From != "" && !t.context, Top: true, IgnoreFile: t.ignore}}
	if m.From == "" {
		at.o.IgnoreFile = st.b.o.IgnoreFile
	}
	at.content, at.state, err = st.contentOf(ctx, at.paths, t, at.o)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("mount source %q: not found: no such file or directory", path.Join("/", m.Source))
	}
	return at, err
}

// untouched tells whether what was bound is as it was when the key was made of it: a command that saw something else must not bear
// that key (decisions.md §2.3).
func (at bound) untouched(ctx context.Context, st *stage) (bool, error) {
	if at.state == "" {
		return true, nil
	}
	_, state, err := st.contentOf(ctx, at.paths, at.from, at.o)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return state == at.state, err
}

package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/imagebuildah/expand"
)

const epochArg = "SOURCE_DATE_EPOCH"

// epoch takes SOURCE_DATE_EPOCH from a build argument or the ARG before the first FROM, where no other time is fixed (dockerfile.md §13).
// What names something that has a time is replaced by that time, and is no argument where it has none.
func (b *build) epoch(ctx context.Context) error {
	text, given := b.o.Args[epochArg]
	for _, cmd := range b.plan.Global {
		for _, a := range cmd.Args {
			if value, ok := expand.Get(b.global.Env, epochArg); ok && a.Key == epochArg {
				text, given = value, true
			}
		}
	}
	if !given || text == "" || b.o.Output.Epoch != nil || b.o.Output.Timestamp != nil {
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		t := time.Unix(n, 0).UTC()
		b.o.Output.Epoch = &t
		return nil
	}
	t, err := b.timeOf(ctx, text)
	if err != nil {
		return err
	}
	b.o.Output.Epoch = t
	b.o.Args = maps.Clone(b.o.Args)
	delete(b.o.Args, epochArg)
	b.global.Env = slices.DeleteFunc(b.global.Env, func(kv string) bool { return strings.HasPrefix(kv, epochArg+"=") })
	if t != nil {
		b.o.Args[epochArg] = strconv.FormatInt(t.Unix(), 10)
	}
	return nil
}

// timeOf is the time of what SOURCE_DATE_EPOCH names, once for all platforms: the context, one of --build-context, or a stage that is
// nothing but one ADD of something remote. It is nil for directories of this machine, whose times mean nothing.
func (b *build) timeOf(ctx context.Context, name string) (*time.Time, error) {
	if name == "context" {
		return b.o.ContextTime, nil
	}
	if t, ok := b.epochs[name]; ok {
		return t, nil
	}
	var t *time.Time
	if n, ok := b.replaced(name); ok {
		if _, image := imageContext(n.value); image {
			return nil, fmt.Errorf("invalid %s: %s: the context is an image", epochArg, name)
		}
		c, err := n.open()
		if err != nil {
			return nil, err
		}
		t = c.Time
	} else {
		add, err := b.onlyAdd(name)
		if err != nil {
			return nil, err
		}
		if t, err = b.remoteTime(ctx, add); err != nil {
			return nil, fmt.Errorf("the time of %s for %s: %w", name, epochArg, err)
		}
	}
	b.epochs[name] = t
	return t, nil
}

// onlyAdd is the ADD of one remote source that a stage consists of, its variables replaced.
func (b *build) onlyAdd(name string) (*instructions.AddCommand, error) {
	k, ok := b.plan.Stage(name, len(b.plan.Stages))
	if _, err := strconv.Atoi(name); !ok || err == nil {
		return nil, fmt.Errorf("invalid %s: %s: want seconds since 1970, context, or the name of a context or stage", epochArg, name)
	}
	wrong := fmt.Errorf("invalid %s: %s: the stage is not FROM scratch and one ADD of one remote source", epochArg, name)
	base, err := b.baseName(k)
	if err != nil {
		return nil, err
	}
	commands := b.plan.Stages[k].Commands
	if base != builder.Scratch || len(commands) != 1 {
		return nil, wrong
	}
	add, ok := commands[0].(*instructions.AddCommand)
	if !ok || len(add.SourcePaths) != 1 || len(add.SourceContents) > 0 {
		return nil, wrong
	}
	found := *add
	scope := expand.Scope{Escape: b.plan.Escape} // nothing is declared in a stage of one instruction
	word, err := scope.Expand(add.SourcePaths[0])
	if err != nil {
		return nil, b.plan.At(add.Location(), err)
	}
	if !source.IsGit(word) && !source.IsURL(word) {
		return nil, wrong
	}
	found.SourcePaths = []string{word}
	return &found, nil
}

// remoteTime is when a remote source was made: a repository's commit, what the server says of a file, the newest file of an archive that
// is unpacked.
func (b *build) remoteTime(ctx context.Context, add *instructions.AddCommand) (_ *time.Time, err error) {
	word := add.SourcePaths[0]
	if source.IsGit(word) || add.Unpack != nil && *add.Unpack {
		c, err := OpenContext(ctx, b.s, word, b.o.Fetch)
		if err != nil {
			return nil, err
		}
		return c.Time, c.Close()
	}
	src, err := b.s.Download(word, builder.FetchOptions{Registry: b.o.Pull.Registry, Secrets: b.o.Secrets})
	if err != nil {
		return nil, err
	}
	in, err := src.Open(ctx)
	if err != nil {
		return nil, err
	}
	if in.Close != nil {
		defer func() { err = errors.Join(err, in.Close()) }()
	}
	if in.Mtime.IsZero() {
		return nil, nil
	}
	t := in.Mtime.UTC()
	return &t, nil
}

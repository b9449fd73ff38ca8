package imagebuildah

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/imagebuildah/expand"
)

// sharing is a stage that means the same for several platforms, as one that cross-compiles up to the point where it is told for
// what: it is built once.
type sharing struct {
	done  chan struct{}
	owner *build
	st    *stage // nil if it failed
	err   error
}

// share returns the stage that another platform's build makes or has made of the same meaning. If there is none, the
// caller makes it and calls made.
func (b *build) share(meaning string) (have *sharing, made func(*stage, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if have := b.shared[meaning]; have != nil {
		return have, nil
	}
	mine := &sharing{done: make(chan struct{}), owner: b}
	b.shared[meaning] = mine
	return nil, func(st *stage, err error) {
		mine.st, mine.err = st, err
		close(mine.done)
	}
}

// wait returns the stage when it is built. Stages only wait for those of lower or equal index, whose builders wait for
// lower ones only: there is no circle.
func (s *sharing) wait(ctx context.Context) (*stage, error) {
	select {
	case <-s.done:
		if s.err != nil {
			return nil, context.Canceled // its builder tells why
		}
		return s.st, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// meaning says what of a stage depends on the platform that is built for: two stages of the same place in the file and the same meaning
// are one. stages gives the meaning of earlier ones.
func (b *build) meaning(i int, stages func(int) string) (string, error) {
	from, err := b.sources(i)
	if err != nil {
		return "", err
	}
	base, err := b.baseName(i)
	if err != nil {
		return "", err
	}
	platform := b.platform().String()
	parts := []any{i, base, b.plan.Stages[i].Name}
	if k, ok := b.baseStage(i); ok {
		parts = append(parts, stages(k))
	} else {
		o, err := b.basePull(i)
		if err != nil {
			return "", err
		}
		if _, files := b.baseFiles(i); files || base == builder.Scratch { // takes no platform from FROM
			o.Platform = b.o.Pull.Platform
		}
		parts = append(parts, o.Platform.OrHost().String())
	}
	for _, m := range b.o.Mounts {
		if m.From != "" { // which may be a stage that nobody has waited for
			parts = append(parts, "mount for "+platform)
		}
	}
	for _, r := range from.Refs {
		if n, ok := b.replaced(r.Name); ok {
			if _, image := imageContext(n.value); !image {
				continue
			}
		}
		k, ok, err := b.plan.Find(r, i)
		if err != nil {
			return "", err
		}
		if !ok {
			parts = append(parts, "image for "+platform)
			continue
		}
		parts = append(parts, stages(k))
	}
	for _, c := range b.plan.Stages[i].Commands {
		if arg, ok := c.(*instructions.ArgCommand); ok {
			for _, a := range arg.Args {
				value, _ := expand.Get(b.global.Env, a.Key)
				parts = append(parts, a.Key, value)
			}
		}
	}
	text, err := json.Marshal(parts)
	return copier.Sum([]string{string(text)}).Encoded(), err
}

// found is the meaning of a stage whose base is there, once those of the stages are known that it uses. Triggers are not looked into:
// they may ask for the platform.
func (st *stage) found(ctx context.Context) (string, error) {
	own := st.b.platform().String()
	var failed error
	text, err := st.b.meaning(st.def.Index, func(k int) string {
		m := st.b.makingOf(k)
		if m == nil {
			return own
		}
		failed = errors.Join(failed, m.wait(ctx, m.known))
		return m.meaning
	})
	if len(st.fired) > 0 {
		text += own
	}
	return text, errors.Join(err, failed)
}

// share takes the stage of another platform if it means the same; then made is nil, and else to be called when the stage is built.
func (st *stage) share(ctx context.Context) (made func(*stage, error), err error) {
	meaning, err := st.found(ctx)
	if err != nil {
		return nil, err
	}
	if err := st.afterEarlier(ctx); err != nil {
		return nil, err
	}
	have, made := st.b.share(meaning)
	own := st.b.makingOf(st.def.Index)
	own.meaning = meaning
	close(own.known)
	if have != nil {
		if !closed(have.done) {
			st.waiting(nil, "the same stage for "+have.owner.platform().String())
		}
		if st.b.done[st.def.Index], err = have.wait(ctx); err == nil {
			st.printf("--> Built for %s\n", have.owner.platform())
			st.event(Event{Kind: "stage-done"})
		}
	}
	return made, err
}

// afterEarlier waits until the meaning of the stage is known for the platforms that come first: it is built by the first of those that
// share it, whichever is quicker.
func (st *stage) afterEarlier(ctx context.Context) error {
	for _, b := range st.b.builds {
		if b == st.b {
			break
		}
		if m := b.makingOf(st.def.Index); m != nil {
			if err := m.wait(ctx, m.known); err != nil {
				return err
			}
		}
	}
	return nil
}

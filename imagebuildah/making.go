package imagebuildah

import (
	"context"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// making is a stage that is being built, or was, or will be.
type making struct {
	end chan struct{} // closed when it is there, or has failed
	err error
	// known is closed when its meaning is known, where several platforms are built for.
	known   chan struct{}
	meaning string
}

func newMaking() *making { return &making{end: make(chan struct{}), known: make(chan struct{})} }

func (m *making) ended() bool { return closed(m.end) }

// produce builds a stage.
func (b *build) produce(ctx context.Context, i int, m *making, out *part) error {
	defer close(m.end)
	m.err = b.stage(ctx, i, out)
	return m.err
}

// ensure waits for a stage. One that is not in the graph is built at once: it is needed by triggers of a base image, which nobody knew
// before that image was there. Stages only ever need earlier ones, so nobody waits in a circle. Of a stage that fails its own builder
// tells: those who wait are only cancelled.
func (st *stage) ensure(ctx context.Context, i int) error {
	b := st.b
	b.mu.Lock()
	m := b.making[i]
	mine := m == nil
	if mine {
		m = newMaking()
		b.making[i] = m
	}
	b.mu.Unlock()
	if mine {
		return b.produce(ctx, i, m, st.part)
	}
	if !m.ended() {
		st.waiting(st.current, "stage "+b.plan.Stages[i].Label())
	}
	return m.wait(ctx, m.end)
}

// wait waits until a channel is closed, or the stage has failed: its own builder tells why.
func (m *making) wait(ctx context.Context, until <-chan struct{}) error {
	select {
	case <-until:
	case <-m.end:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if m.ended() && m.err != nil {
		return context.Canceled
	}
	return nil
}

// awaits tells whether an instruction uses a stage that is not there yet.
func (st *stage) awaits(cmd instructions.Command) bool {
	refs := plan.Refs(cmd)
	if _, run := cmd.(*plan.Run); run {
		for _, m := range st.b.o.Mounts {
			refs = append(refs, plan.Ref{Name: m.From})
		}
	}
	for _, r := range refs {
		if name, err := st.scope.Expand(r.Name); err == nil {
			r.Name = name
		}
		if k, ok, err := st.b.plan.Find(r, st.def.Index); ok && err == nil && !st.b.made(k) {
			return true
		}
	}
	return false
}

// built are the stages of a build that has ended, also those that only triggers have asked for.
func (b *build) built() []*stage {
	return slices.DeleteFunc(slices.Clone(b.done), func(st *stage) bool { return st == nil })
}

// makingOf is nil for a stage that is not in the graph, unless triggers have asked for it.
func (b *build) makingOf(i int) *making {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.making[i]
}

// made tells whether a stage has been built.
func (b *build) made(i int) bool {
	m := b.makingOf(i)
	return m != nil && m.ended()
}

package imagebuildah

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah/plan"
	"github.com/slipway-build/slipway/internal/graph"
)

// A node is a stage for a platform.
type node struct {
	b     *build
	stage int
}

// nodes lists the stages that are needed, platform by platform, and for each those that must be there before it begins.
func (j *job) nodes() (list []node, needs [][]int, err error) {
	for _, b := range j.builds {
		start := len(list)
		before := b.plan.Before // the others are waited for where they are used
		if j.o.Jobs == 1 {
			before = b.plan.Needs // one after the other
		}
		for _, i := range b.needed {
			stages, err := before(i, b.sources)
			if err != nil {
				return nil, nil, err
			}
			var wait []int
			for _, k := range stages {
				wait = append(wait, start+slices.Index(b.needed, k))
			}
			b.making[i] = newMaking()
			list, needs = append(list, node{b, i}), append(needs, wait)
		}
	}
	return list, needs, nil
}

// stages builds the stages that are needed, of all platforms. Each begins as soon as what it stands on is there, and waits for other
// stages where an instruction uses them; what it executes on the way takes its turn (see place).
func (j *job) stages(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var pulls sync.WaitGroup
	defer pulls.Wait()
	defer cancel()
	nodes, needs, err := j.nodes()
	if err != nil {
		return err
	}
	j.console = &console{}
	defer j.console.discard()
	for _, n := range nodes {
		if err := n.b.prefetch(ctx, n.stage, &pulls); err != nil {
			return err
		}
		j.console.add(n.b.o.Out, n.b.o.Err)
	}
	for _, b := range j.builds {
		j.console.add(b.o.Out, b.o.Err) // for what is printed when all stages are there
	}
	limit := 0
	if j.o.Jobs == 1 {
		limit = 1
	}
	return graph.Run(ctx, needs, limit, func(ctx context.Context, n int) error {
		out, b, i := j.console.list[n], nodes[n].b, nodes[n].stage
		if err := b.produce(ctx, i, b.making[i], out); err != nil {
			if !errors.Is(err, context.Canceled) {
				out.fail()
			}
			return err
		}
		out.close()
		return nil
	})
}

// prefetch pulls the base of a stage while others are built, unless one thing is to be done at a time. The stage gets the error when it
// asks for the image.
func (b *build) prefetch(ctx context.Context, i int, pulls *sync.WaitGroup) error {
	if _, files := b.baseFiles(i); files {
		return nil
	}
	name, err := b.baseName(i)
	if err != nil {
		return err
	}
	o, err := b.basePull(i)
	if err != nil {
		return err
	}
	if _, stage := b.baseStage(i); !stage && name != builder.Scratch && b.o.Jobs != 1 {
		pulls.Go(func() { _, _ = b.pull(ctx, name, o) })
	}
	return nil
}

// making is a stage that is being built, or was, or will be.
type making struct {
	end chan struct{} // closed when it is there, or has failed
	err error
	// known is closed when its meaning is known, where several platforms are built for.
	known   chan struct{}
	meaning string
}

func newMaking() *making { return &making{end: make(chan struct{}), known: make(chan struct{})} }

func (m *making) ended() bool {
	select {
	case <-m.end:
		return true
	default:
		return false
	}
}

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

// place waits until a step may be executed: as many commands at a time as there are jobs, and besides them as many other steps, which are
// short. Of those who wait the stage that comes first in the file is first.
func (st *stage) place(ctx context.Context, s *step) (leave func(), err error) {
	places := st.b.copies
	if s.in != nil && s.in.Kind == "RUN" {
		places = st.b.commands
	}
	if leave, ok := places.Try(); ok {
		return leave, nil
	}
	st.waiting(s, "its turn")
	return places.Take(ctx, st.part.pos)
}

// pulling is an image on its way, or there.
type pulling struct {
	once sync.Once
	img  *builder.Image
	err  error
}

// pull makes sure of an image once in a build, whoever asks first: bases are fetched while other stages are built, and a
// build sees one version of a tag.
func (j *job) pull(ctx context.Context, name string, o builder.PullOptions) (*builder.Image, error) {
	key := name + " " + o.Platform.OS + "/" + o.Platform.Arch + "/" + o.Platform.Variant
	j.mu.Lock()
	p := j.pulls[key]
	if p == nil {
		p = &pulling{}
		j.pulls[key] = p
	}
	j.mu.Unlock()
	p.once.Do(func() {
		var leave func()
		if leave, p.err = j.fetches.Take(ctx, 0); p.err != nil {
			return
		}
		defer leave()
		var ref string
		if name, p.err = j.o.Policy.apply(name); p.err != nil {
			return
		}
		if ref, p.err = j.reference(name); p.err == nil {
			var pulled func()
			o.Progress, pulled = j.watchPull(name)
			p.img, p.err = j.s.Pull(ctx, ref, o)
			pulled()
		}
	})
	return p.img, p.err
}

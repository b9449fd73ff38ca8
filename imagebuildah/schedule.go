package imagebuildah

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/slipway-build/slipway/builder"
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
// stages where an instruction uses them; what it executes on the way has a place (see place).
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

// place waits until a step may be executed: as many commands at a time as there are jobs, and besides them as many other steps, which are
// short. Of those who wait the stage that comes first in the file is first.
func (st *stage) place(ctx context.Context, s *step) (leave func(), err error) {
	if s.in != nil && s.in.Kind == "RUN" {
		return st.take(ctx, s, st.b.commands)
	}
	return st.take(ctx, s, st.b.copies)
}

func (st *stage) take(ctx context.Context, s *step, places *graph.Places) (leave func(), err error) {
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

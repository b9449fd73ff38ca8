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

// nodes lists the stages that are needed, platform by platform, and for each those that it has to wait for.
func (j *job) nodes() (list []node, needs [][]int, err error) {
	first := map[string]int{} // the node of a meaning
	for _, b := range j.builds {
		start := len(list)
		for _, i := range b.needed {
			stages, err := b.plan.Needs(i, b.sources)
			if err != nil {
				return nil, nil, err
			}
			var wait []int
			for _, k := range stages {
				wait = append(wait, start+slices.Index(b.needed, k))
			}
			meaning := b.expected(i)
			if same, ok := first[meaning]; ok && list[same].b != b {
				wait = append(wait, same) // it is built once
			} else {
				first[meaning] = len(list)
			}
			list, needs = append(list, node{b, i}), append(needs, wait)
		}
	}
	return list, needs, nil
}

// stages builds the stages that are needed, of all platforms, those that do not need each other side by side.
func (j *job) stages(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	pulls := graph.NewPool(j.o.Jobs)
	defer pulls.Wait()
	defer cancel()
	nodes, needs, err := j.nodes()
	if err != nil {
		return err
	}
	j.console = &console{}
	for _, n := range nodes {
		if err := n.b.prefetch(ctx, n.stage, pulls); err != nil {
			return err
		}
		j.console.add(n.b.o.Out, n.b.o.Err)
	}
	for _, b := range j.builds {
		j.console.add(b.o.Out, b.o.Err) // for what is printed when all stages are there
	}
	return graph.Run(ctx, needs, j.o.Jobs, func(ctx context.Context, n int) error {
		defer context.AfterFunc(ctx, j.console.stop)()
		out := j.console.list[n]
		if err := nodes[n].b.ensure(ctx, nodes[n].stage, out); err != nil {
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
func (b *build) prefetch(ctx context.Context, i int, pulls *graph.Pool) error {
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
	if _, stage := b.plan.Stage(name, i); !stage && name != builder.Scratch && b.o.Jobs != 1 {
		pulls.Go(ctx, func() { _, _ = b.pull(ctx, name, o) })
	}
	return nil
}

// making is a stage that is being built, or was.
type making struct {
	part *part // where it prints
	end  chan struct{}
	err  error
}

// ensure builds a stage unless it is there, whoever asks first: the graph, or a stage whose base image has triggers that need it,
// which nobody knows before that image is there. Stages only ever need earlier ones, so nobody waits in a circle.
func (b *build) ensure(ctx context.Context, i int, out *part) error {
	b.mu.Lock()
	m := b.making[i]
	first := m == nil
	if first {
		m = &making{part: out, end: make(chan struct{})}
		b.making[i] = m
	}
	b.mu.Unlock()
	if first {
		defer close(m.end)
		m.err = b.stage(ctx, i, out)
		return m.err
	}
	if err := m.part.await(ctx, m.end); err != nil {
		return err
	}
	return m.err
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
		var ref string
		if name, p.err = j.o.Policy.apply(name); p.err != nil {
			return
		}
		if ref, p.err = j.reference(name); p.err == nil {
			p.img, p.err = j.s.Pull(ctx, ref, o)
		}
	})
	return p.img, p.err
}

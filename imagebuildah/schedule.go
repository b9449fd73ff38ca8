package imagebuildah

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/graph"
)

// stages builds the stages that are needed, those that do not need each other side by side.
func (b *build) stages(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var pulls sync.WaitGroup
	defer pulls.Wait()
	defer cancel()
	needs := make([][]int, len(b.needed))
	for n, i := range b.needed {
		list, err := b.plan.Needs(i, b.sources)
		if err != nil {
			return err
		}
		for _, k := range list {
			needs[n] = append(needs[n], slices.Index(b.needed, k))
		}
		name, err := b.baseName(i)
		if err != nil {
			return err
		}
		o, err := b.basePull(i)
		if err != nil {
			return err
		}
		if _, stage := b.plan.Stage(name, i); !stage && name != builder.Scratch {
			pulls.Go(func() { _, _ = b.pull(ctx, name, o) }) // the stage gets the error when it asks for the image
		}
	}
	b.console = newConsole(b.o.Out, b.o.Err, len(b.needed)+1)
	return graph.Run(ctx, needs, b.o.Jobs, func(ctx context.Context, n int) error {
		out := b.console.list[n]
		if err := b.ensure(ctx, b.needed[n], out); err != nil {
			if !errors.Is(err, context.Canceled) {
				out.fail()
			}
			return err
		}
		out.close()
		return nil
	})
}

// ensure builds a stage unless it is there, whoever asks first: the graph, or a stage whose base image has triggers that need it,
// which nobody knows before that image is there. Stages only ever need earlier ones, so nobody waits in a circle.
func (b *build) ensure(ctx context.Context, i int, out *part) error {
	b.once[i].Do(func() { b.failed[i] = b.stage(ctx, i, out) })
	return b.failed[i]
}

// pulling is an image on its way, or there.
type pulling struct {
	once sync.Once
	img  *builder.Image
	err  error
}

// pull makes sure of an image once in a build, whoever asks first: bases are fetched while other stages are built, and a
// build sees one version of a tag.
func (b *build) pull(ctx context.Context, name string, o builder.PullOptions) (*builder.Image, error) {
	key := name + " " + o.Platform.OS + "/" + o.Platform.Arch + "/" + o.Platform.Variant
	b.mu.Lock()
	p := b.pulls[key]
	if p == nil {
		p = &pulling{}
		b.pulls[key] = p
	}
	b.mu.Unlock()
	p.once.Do(func() {
		var ref string
		if ref, p.err = b.reference(name); p.err == nil {
			p.img, p.err = b.s.Pull(ctx, ref, o)
		}
	})
	return p.img, p.err
}

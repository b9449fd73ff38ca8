package imagebuildah

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/cache"
)

// A step is an instruction whose meaning is known: all that decides its result, but for the layer below, and how to get it.
// Nothing has been done yet.
type step struct {
	label, text string
	number      int // from 2 on, 0 for a trigger
	where       []parser.Range
	// in is what decides the result; nil for what cannot be known beforehand. do makes the files; nil for an instruction
	// that only changes the configuration. They see the configuration cfg.
	in  *cache.Input
	do  func(*builder.Workspace) error
	cfg *config.Image
	// hist is the instruction's place in the history.
	hist int
	key  string
	// layer is the result, found or made.
	layer *builder.Layer
	made  bool
	// remote is the cache that the layer is from, empty for local storage; damaged says that one has a result that could not be fetched.
	remote  string
	damaged bool
	// link says that the files make a layer without looking at what is below (COPY --link); alone, that nothing below decides
	// what is in it, so that it is the same over anything.
	link, alone bool
	// changed says that what was copied is not what the key was made of: the result must not bear it (decisions.md §2.3).
	changed bool
	end     func() // tells of its end, set when it begins
}

// layerStep notes what the instruction at hand does to files. An empty input is never looked up.
func (st *stage) layerStep(_ context.Context, in *cache.Input, by string, do func(*builder.Workspace) error) error {
	s := st.current
	s.in, s.do, s.cfg, s.hist = in, do, st.cfg.Clone(), len(st.cfg.History)
	st.history(config.History{CreatedBy: by})
	return nil
}

// next are the stage's next steps, looked up. While all are found, nothing is gained by going on without the stages that the rest uses, and
// a cache may have more of the whole.
func (st *stage) next(ctx context.Context) (steps []*step, err error) {
	missing := func(s *step) bool { return s.do != nil && s.layer == nil }
	for len(st.queue) > 0 && !slices.ContainsFunc(steps, missing) {
		more, err := st.resolve(ctx)
		if err != nil {
			return nil, err
		}
		st.keys(more)
		steps = append(steps, more...)
		if err := st.lookup(steps); err != nil {
			return nil, err
		}
		if err := st.lookupRemote(ctx, steps); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// resolve gives the meaning of the stage's next instructions: up to its end, or to one whose result cannot be known, which
// is the last one then, or to one that uses a stage which is still being built: what comes before need not wait for it.
func (st *stage) resolve(ctx context.Context) ([]*step, error) {
	var steps []*step
	for len(st.queue) > 0 {
		q := st.queue[0]
		if len(steps) > 0 && st.awaits(q.cmd) {
			break
		}
		st.queue = st.queue[1:]
		st.current = &step{label: q.label, text: text(q.cmd), where: q.where, number: q.n}
		if err := st.execute(ctx, q.cmd, q.where); err != nil {
			return nil, err
		}
		steps = append(steps, st.current)
		if st.current.do != nil && st.current.in == nil && !st.b.o.NoLayers {
			break
		}
	}
	return steps, nil
}

// keys names the results of steps. The first one stands on a layer, each further one on the result of the one before:
// so all are known before anything is done (decisions.md §2.1).
func (st *stage) keys(steps []*step) {
	o := st.b.o.Output
	chain, bottom := st.chain, st.bottom
	if chain == "" {
		chain, bottom, st.executed = "layer:"+st.top, st.top == "", ""
	}
	for _, s := range steps {
		if s.in == nil {
			continue
		}
		s.in.Parent, s.in.Output = chain, outputText(o)
		if s.alone {
			s.in.Parent = "anything"
			if bottom {
				s.in.Parent = "nothing" // an image's first layer has an entry of the root
			}
		}
		if s.in.Kind == "RUN" { // files are the same for every platform
			s.in.Platform = s.cfg.OS + "/" + s.cfg.Architecture + "/" + s.cfg.Variant
		}
		s.key = s.in.Key()
		if s.alone {
			chain = cache.Chain(chain, s.key)
		} else {
			chain = s.key
		}
		bottom = false
	}
	st.chain, st.bottom = chain, bottom
	if last := steps[len(steps)-1]; last.do != nil && last.in == nil {
		st.chain = ""
	}
}

// outputText are the times that are forced on a layer's files: nothing else of an output gets into a layer.
func outputText(o builder.Output) string {
	switch {
	case o.Timestamp != nil:
		return fmt.Sprintf("all times %d", o.Timestamp.Unix())
	case o.Rewrite && o.Epoch != nil:
		return fmt.Sprintf("times up to %d", o.Epoch.Unix())
	}
	return ""
}

// lookup finds the deepest step that is cached, from the end: one access to storage finds all below it.
func (st *stage) lookup(steps []*step) error {
	if st.b.o.NoLayers || st.b.o.NoCache || st.filtered() {
		return nil
	}
	for n := len(steps) - 1; n >= 0; n-- {
		if steps[n].key == "" || steps[n].alone { // its key says nothing of those below
			continue
		}
		l, err := st.b.s.Layer(steps[n].key)
		if errors.Is(err, builder.ErrNoLayer) {
			continue
		}
		if err != nil {
			return err
		}
		if ok, err := st.adopt(steps[:n+1], l); ok || err != nil {
			return err
		}
	}
	return nil
}

// adopt takes a layer and those below it for the results of steps. Other tools may have given the name to something that does not
// stand on what this stage stands on: that is a miss.
func (st *stage) adopt(steps []*step, l *builder.Layer) (bool, error) {
	found := map[*step]*builder.Layer{}
	for n := len(steps) - 1; n >= 0; n-- {
		s := steps[n]
		if s.do == nil {
			continue
		}
		if l == nil || st.expired(s.key, l) {
			return false, nil
		}
		found[s] = l
		parent := l.Parent
		if l = nil; parent != "" {
			var err error
			if l, err = st.b.s.LayerByID(parent); err != nil {
				return false, err
			}
		}
	}
	below := ""
	if l != nil {
		below = l.ID
	}
	if below != st.top {
		return false, nil
	}
	for s, l := range found {
		s.layer = l
	}
	return true, nil
}

// expired tells whether a result is older than the caller wants.
func (st *stage) expired(key string, l *builder.Layer) bool {
	ttl := st.b.o.CacheTTL
	return ttl > 0 && st.b.s.Now().Sub(st.b.s.StepMade(key, l)) > ttl
}

// perform does what was not found, and says what happens.
func (st *stage) perform(ctx context.Context, steps []*step) error {
	for _, s := range steps {
		if s.label != "" {
			st.say("%s: %s", s.label, s.text)
		}
		if s.do != nil {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := st.result(ctx, s); err != nil {
				return st.b.plan.At(s.where, &StepError{s.text, err})
			}
		} else {
			st.begin(s)
		}
		s.end()
	}
	return nil
}

// named names what has been made by its ID.
func (st *stage) named(id string) {
	if !st.b.o.NoIDs {
		st.printf("--> %s\n", id[:12])
	}
}

// result gets the result of one step: the layer that was found, or a new one.
func (st *stage) result(ctx context.Context, s *step) (err error) {
	if st.b.o.NoLayers {
		return st.single(ctx, s)
	}
	if err := st.linked(ctx, s); err != nil {
		return err
	}
	done, err := st.claim(ctx, s)
	if err != nil {
		return err
	}
	defer done()
	st.explain(s)
	if s.layer != nil {
		st.begin(s)
		if s.remote != "" {
			st.printf("--> Cache pulled from remote %s:%s\n", s.remote, s.key)
		} else {
			st.printf("--> Using cache %s\n", s.layer.ID)
			if copies := s.in.Kind == "COPY" || s.in.Kind == "ADD"; copies && st.b.o.Log != nil {
				st.b.o.Log.Debug("Found a cache hit in the first iteration") // scripts look for it (exact.md, cli.md §2)
			}
		}
		st.b.s.StepUsed(s.key)
	} else {
		if s.layer, err = st.make(ctx, s); err != nil {
			return err
		}
		if s.made = true; st.executed == "" {
			st.executed = s.text
		}
		st.named(s.layer.ID)
	}
	st.top = s.layer.ID
	if err := st.keep(s); err != nil {
		return err
	}
	created := s.layer.Created
	st.cfg.History[s.hist].Created = &created
	return nil
}

// linked finds the files of COPY --link, whatever they stood on, and puts them over what the stage has by now.
func (st *stage) linked(ctx context.Context, s *step) error {
	if s.layer != nil || !s.alone || s.key == "" || st.b.o.NoCache || st.filtered() {
		return nil
	}
	l, err := st.b.s.Layer(s.key)
	if errors.Is(err, builder.ErrNoLayer) && len(st.b.o.CacheFrom) > 0 {
		return st.fetchLinked(ctx, s)
	}
	if errors.Is(err, builder.ErrNoLayer) || err == nil && st.expired(s.key, l) {
		return nil
	}
	if err == nil {
		s.layer, err = st.b.s.Restack(ctx, l, s.key, st.top)
	}
	return err
}

// make makes a layer, and keeps its input beside it for those who ask why it was not found.
func (st *stage) make(ctx context.Context, s *step) (*builder.Layer, error) {
	leave, err := st.take(ctx, s, st.b.prepared)
	if err != nil {
		return nil, err
	}
	defer leave()
	top := st.top
	if s.link {
		top = "" // and over that it is put at the end
	}
	w, err := st.workspace(ctx, s.cfg, top)
	if err != nil {
		return nil, err
	}
	if err := st.do(ctx, s, w); err != nil {
		return nil, st.abandon(ctx, w, err)
	}
	return st.store(ctx, s, w)
}

// store makes a layer of what a step has done, under its key unless what it read has changed meanwhile.
func (st *stage) store(ctx context.Context, s *step, w *builder.Workspace) (l *builder.Layer, err error) {
	key := s.key
	if s.changed {
		st.loose = true
	}
	if st.loose {
		key = ""
	}
	o := builder.LayerOptions{Output: st.b.o.Output}
	if s.link {
		l, err = w.SealOver(ctx, key, st.top, o)
	} else {
		l, err = w.Seal(ctx, key, o)
	}
	if err != nil || key == "" {
		return l, err
	}
	note, err := json.Marshal(s.in)
	if err != nil {
		return nil, err
	}
	return l, errors.Join(st.b.s.NoteStep(key, note), st.noteListings(s))
}

// do makes the files of a step when it has a place.
func (st *stage) do(ctx context.Context, s *step, w *builder.Workspace) error {
	leave, err := st.place(ctx, s)
	if err != nil {
		return err
	}
	defer leave()
	st.begin(s)
	return s.do(w)
}

func (st *stage) workspace(ctx context.Context, cfg *config.Image, top string) (*builder.Workspace, error) {
	return st.b.s.NewWorkspace(ctx, top, cfg, builder.WorkspaceOptions{Sandbox: st.b.o.Box, Users: st.b.o.Users, Hostname: st.b.hostname()})
}

// single does a step in the stage's only workspace.
func (st *stage) single(ctx context.Context, s *step) error {
	if st.work == nil {
		w, err := st.workspace(ctx, s.cfg, st.top)
		if err != nil {
			return err
		}
		st.work = w
	}
	if err := st.work.Configure(is(s.cfg)); err != nil {
		return err
	}
	if err := st.do(ctx, s, st.work); err != nil {
		w := st.work
		st.work = nil
		return st.abandon(ctx, w, err)
	}
	return nil
}

// keep notes a step for the remote caches. What was executed though the caller could have had a cached result replaces that.
func (st *stage) keep(s *step) error {
	if len(st.b.o.CacheTo) == 0 || s.key == "" || st.loose {
		return nil
	}
	note, err := json.Marshal(s.in)
	fresh := st.b.o.NoCache || st.filtered() || st.b.o.CacheTTL > 0
	st.keyed = append(st.keyed, builder.RemoteStep{Key: s.key, Layer: s.layer, Note: note, Fresh: s.made && fresh, Damaged: s.made && s.damaged})
	return err
}

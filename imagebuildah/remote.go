package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-build/slipway/builder"
)

// openRemotes reads the lists of the remote caches to look steps up in. One that can not be read is a warning: the build
// goes on without.
func (j *job) openRemotes(ctx context.Context) []*builder.RemoteCache {
	var list []*builder.RemoteCache
	for _, place := range j.o.CacheFrom {
		c, err := j.s.OpenRemoteCache(ctx, place, j.o.Pull.Registry)
		if ctx.Err() != nil {
			return nil // the build ends with that
		}
		if err != nil {
			j.warn(fmt.Sprintf("build cache %s can not be used: %v", place, err))
			continue
		}
		list = append(list, c)
	}
	return list
}

// opened are the remote caches to look things up in, read once.
func (j *job) opened(ctx context.Context) []*builder.RemoteCache {
	j.remotesOnce.Do(func() { j.remotes = j.openRemotes(ctx) })
	return j.remotes
}

// seedCache puts into dir what a remote cache has of a cache mount (builder.RunOptions). What fails is a warning.
func (st *stage) seedCache(ctx context.Context, m builder.CacheMount, dir string) bool {
	for _, c := range st.b.opened(ctx) {
		err := c.FetchMount(ctx, m, dir)
		if err == nil {
			st.printf("--> Cache mount %q pulled from remote %s\n", m.ID, c.Place())
			return true
		}
		if !errors.Is(err, builder.ErrNoLayer) {
			st.b.warn(err.Error())
			return false
		}
	}
	return false
}

// lookupRemote goes on where the look-up in storage ended: it fetches the results of the steps up to the deepest that a remote cache has.
// They may stand on other results than those in storage, which were executed here: then they replace these.
func (st *stage) lookupRemote(ctx context.Context, steps []*step) error {
	if st.b.o.NoLayers || st.b.o.NoCache || len(st.b.o.CacheFrom) == 0 || st.filtered() {
		return nil
	}
	steps = slices.Clone(steps)
	steps = slices.DeleteFunc(steps, func(s *step) bool { return s.do == nil })
	if !slices.ContainsFunc(steps, func(s *step) bool { return s.layer == nil }) {
		return nil // nobody is asked for what is here
	}
	for _, c := range st.b.opened(ctx) {
		want := make([]builder.WantedStep, len(steps))
		for i, s := range steps {
			want[i].Key = s.key
			if s.layer != nil {
				want[i].Layer = s.layer.ID
			}
		}
		if err := st.fetchChain(ctx, c, steps, c.Chain(st.top, want, st.oldest())); err != nil {
			return err
		}
	}
	return nil
}

// oldest is when the results that the caller wants were executed at the earliest.
func (st *stage) oldest() time.Time {
	if ttl := st.b.o.CacheTTL; ttl > 0 {
		return st.b.s.Now().Add(-ttl)
	}
	return time.Time{}
}

// fetchChain fetches results of the first steps, each over the one before. Where that ends with an error, what was fetched counts if it
// goes deeper than storage does.
func (st *stage) fetchChain(ctx context.Context, c *builder.RemoteCache, steps []*step, chain []builder.RemoteResult) error {
	below, deeper := st.top, false
	var got []*builder.Layer
	for i, r := range chain {
		s := steps[i]
		l := s.layer
		if !r.Local() {
			var err error
			if l, err = st.fetch(ctx, c, s, r, below); l == nil {
				if err != nil {
					return err
				}
				break
			}
			deeper = deeper || s.layer == nil
		}
		got, below = append(got, l), l.ID
	}
	if !deeper {
		return nil
	}
	for i, s := range steps {
		switch {
		case i >= len(got):
			s.layer, s.remote = nil, ""
		case !chain[i].Local():
			s.layer, s.remote = got[i], c.Place()
		}
	}
	return nil
}

// fetch gets a result from a remote cache. What fails is a miss, with a warning, and the result is to be replaced there.
func (st *stage) fetch(ctx context.Context, c *builder.RemoteCache, s *step, r builder.RemoteResult, below string) (*builder.Layer, error) {
	l, err := c.Fetch(ctx, r, below)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		s.damaged = true
		st.b.warn(err.Error())
		return nil, nil
	}
	return l, nil
}

// fetchLinked gets the files of COPY --link, which are the same over anything.
func (st *stage) fetchLinked(ctx context.Context, s *step) error {
	for _, c := range st.b.opened(ctx) {
		r, ok := c.Newest(s.key, st.oldest())
		if !ok {
			continue
		}
		l, err := st.fetch(ctx, c, s, r, st.top)
		if err != nil {
			return err
		}
		if l != nil {
			s.layer, s.remote = l, c.Place()
			return nil
		}
	}
	return nil
}

// pushCache gives the steps of the build to the remote caches that are to have them. What fails is a warning (decisions.md §2.6).
func (j *job) pushCache(ctx context.Context) {
	var steps []builder.RemoteStep
	var mounts []builder.CacheMount
	seen := map[*stage]bool{} // platforms share stages
	for _, b := range j.builds {
		for _, st := range b.built() {
			if !seen[st] {
				seen[st] = true
				steps = append(steps, st.keyed...)
				mounts = append(mounts, st.caches...)
			}
		}
	}
	for _, place := range j.o.CacheTo {
		pushed := j.watchPush("build cache " + place)
		c, err := j.s.OpenRemoteCache(ctx, place, j.o.Pull.Registry)
		var added []string
		if errors.Is(err, builder.ErrCacheDamaged) {
			j.warn(fmt.Sprintf("build cache %s: %v, and is made anew", place, err))
			err = nil
		}
		give := steps
		if err == nil && c.Least() {
			give, err = j.below(steps)
		}
		if err == nil {
			added, err = c.Push(ctx, give, mounts, j.o.Output.Compression)
		}
		if err != nil {
			j.warn(fmt.Sprintf("writing build cache %s: %v", place, err))
		}
		pushed(len(added))
		for _, key := range added {
			j.builds[0].printf("--> Pushing cache [%s]:%s\n", place, key)
		}
	}
}

// below are those of steps that the results of the build stand on.
func (j *job) below(steps []builder.RemoteStep) ([]builder.RemoteStep, error) {
	stands := map[string]bool{}
	for _, b := range j.builds {
		layers, err := j.s.Layers(b.done[b.target].top)
		if err != nil {
			return nil, err
		}
		for _, l := range layers {
			stands[l.ID] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s builder.RemoteStep) bool { return !stands[s.Layer.ID] }), nil
}

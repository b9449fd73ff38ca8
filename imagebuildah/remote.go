package imagebuildah

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/builder"
)

// openRemotes reads the lists of the remote caches to look steps up in. One that can not be read is a warning: the build
// goes on without.
func (j *job) openRemotes(ctx context.Context) []*builder.RemoteCache {
	var list []*builder.RemoteCache
	for _, place := range j.o.CacheFrom {
		c, err := j.s.OpenRemoteCache(ctx, place, j.o.Pull.Registry)
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

// lookupRemote goes on where the look-up in storage ended: it fetches the layers of the steps up to the deepest that a remote
// cache has, if it has those between too.
func (st *stage) lookupRemote(ctx context.Context, steps []*step) error {
	if st.b.o.NoLayers || st.b.o.NoCache || len(st.b.o.CacheFrom) == 0 || st.filtered() {
		return nil
	}
	below := st.top
	for _, s := range steps {
		if s.do == nil {
			continue
		}
		if s.layer == nil {
			if err := st.fetch(ctx, s, below); err != nil {
				return err
			}
		}
		if s.layer == nil {
			return nil
		}
		below = s.layer.ID
	}
	return nil
}

// fetch gets one step from a remote cache, if one has it; what fails is a miss, with a warning.
func (st *stage) fetch(ctx context.Context, s *step, below string) error {
	for _, c := range st.b.opened(ctx) {
		made, ok := c.Made(s.key)
		if ttl := st.b.o.CacheTTL; !ok || s.key == "" || ttl > 0 && st.b.s.Now().Sub(made) > ttl {
			continue
		}
		l, err := c.Fetch(ctx, s.key, below)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			if !errors.Is(err, builder.ErrNoLayer) {
				st.b.warn(err.Error())
			}
			continue
		}
		s.layer, s.remote = l, c.Place()
		return nil
	}
	return nil
}

// pushCache gives the steps of the build to the remote caches that are to have them. What fails is a warning (decisions.md §2.6).
func (j *job) pushCache(ctx context.Context) {
	var steps []builder.RemoteStep
	var mounts []builder.CacheMount
	seen := map[*stage]bool{} // platforms share stages
	for _, b := range j.builds {
		for _, i := range b.needed {
			if st := b.done[i]; !seen[st] {
				seen[st] = true
				steps = append(steps, st.keyed...)
				mounts = append(mounts, st.caches...)
			}
		}
	}
	for _, place := range j.o.CacheTo {
		c, err := j.s.OpenRemoteCache(ctx, place, j.o.Pull.Registry)
		var added []string
		if err == nil {
			added, err = c.Push(ctx, steps, mounts)
		}
		if err != nil {
			j.warn(fmt.Sprintf("writing build cache %s: %v", place, err))
		}
		for _, key := range added {
			j.builds[0].printf("--> Pushing cache [%s]:%s\n", place, key)
		}
	}
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/flock"
)

// CacheLimit says which cached steps may stay. Layers that images or containers stand on stay in any case.
type CacheLimit struct {
	// Unused is the time after which a step that no build has used is removed; 0 is none.
	Unused time.Duration
	// Size is how much the steps may take together, in bytes; what was used last stays. 0 is no limit.
	Size int64
	// All removes all.
	All bool
}

// DefaultCacheLimit is what a store keeps on its own (decisions.md §2.5): steps used within 30 days, at most 20 GB or a
// tenth of the file system, whichever is less.
func (s *Store) DefaultCacheLimit() CacheLimit {
	limit := CacheLimit{Unused: 30 * 24 * time.Hour, Size: 20e9}
	var st unix.Statfs_t
	if err := unix.Statfs(s.st.GraphRoot(), &st); err == nil {
		limit.Size = min(limit.Size, int64(st.Blocks)*st.Bsize/10) //nolint:gosec // sizes of file systems fit
	}
	return limit
}

// UseCache keeps prunes away from the cache until the caller closes the lock: a build must find the layers it has seen.
func (s *Store) UseCache() (*flock.Lock, error) { return s.cacheLock(flock.Acquire, flock.Shared) }

func (s *Store) cacheLock(f func(string, flock.Mode) (*flock.Lock, error), m flock.Mode) (*flock.Lock, error) {
	dir, err := s.dir("")
	if err != nil {
		return nil, err
	}
	return f(filepath.Join(dir, "cache.lock"), m)
}

// A CachedStep is a layer that builds made, and that no image or container stands on.
type CachedStep struct {
	Layer
	// Keys are those that find it; there may be none, of steps that are executed always.
	Keys []string
	// Used is when a build made or used it last.
	Used time.Time
}

// CachedSteps lists the steps that only the cache keeps, those that were used last first.
func (s *Store) CachedSteps() ([]CachedStep, error) {
	layers, err := s.allLayers()
	if err != nil {
		return nil, err
	}
	needed, err := s.neededLayers(layers)
	if err != nil {
		return nil, err
	}
	var steps []CachedStep
	for i := range layers {
		rec := &layers[i]
		if made, ours := s.madeByBuild(rec); ours && !needed[rec.ID] && !rec.ReadOnly {
			l := Layer{ID: rec.ID, Parent: rec.Parent, DiffID: rec.UncompressedDigest, Size: rec.UncompressedSize, Created: rec.Created.UTC()}
			step := CachedStep{Layer: l, Used: made}
			for _, name := range rec.Names {
				key, ok := strings.CutPrefix(name, layerName(""))
				if !ok {
					continue
				}
				step.Keys = append(step.Keys, key)
				if used, ok := s.stepLastUsed(key); ok && used.After(step.Used) {
					step.Used = used
				}
			}
			steps = append(steps, step)
		}
	}
	s.liftUse(steps)
	slices.SortStableFunc(steps, func(a, b CachedStep) int { return b.Used.Compare(a.Used) })
	return steps, nil
}

// liftUse makes a step used whenever one on it was.
func (s *Store) liftUse(steps []CachedStep) {
	index := map[string]int{}
	for i := range steps {
		index[steps[i].ID] = i
	}
	for i := range steps {
		for at, ok := index[steps[i].Parent]; ok && steps[at].Used.Before(steps[i].Used); at, ok = index[steps[at].Parent] {
			steps[at].Used = steps[i].Used
		}
	}
}

// neededLayers are those that images, containers and workspaces stand on.
func (s *Store) neededLayers(layers []storage.Layer) (map[string]bool, error) {
	parent := map[string]string{}
	var tops []string
	for i := range layers {
		parent[layers[i].ID] = layers[i].Parent
		if _, ours := s.madeByBuild(&layers[i]); !ours {
			tops = append(tops, layers[i].ID) // and what other tools have made
		}
	}
	images, err := s.allImages()
	if err != nil {
		return nil, err
	}
	for i := range images {
		tops = append(append(tops, images[i].TopLayer), images[i].MappedTopLayers...)
	}
	containers, err := s.allContainers()
	if err != nil {
		return nil, err
	}
	for i := range containers {
		tops = append(tops, containers[i].LayerID)
	}
	needed := map[string]bool{}
	for _, id := range tops {
		for ; id != "" && !needed[id]; id = parent[id] {
			needed[id] = true
		}
	}
	return needed, nil
}

// noteMade marks a layer as made by a build, also where no key names it or its key has gone to a newer one.
func (s *Store) noteMade(id string) error {
	dir, err := s.dir("made")
	if err != nil {
		return err
	}
	now := s.o.Now()
	file := filepath.Join(dir, id)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	return os.Chtimes(file, now, now)
}

// madeByBuild tells whether a layer is a step of a build, and when it was made.
func (s *Store) madeByBuild(rec *storage.Layer) (time.Time, bool) {
	st, err := os.Stat(filepath.Join(s.st.GraphRoot(), "slipway", "made", rec.ID))
	if err == nil {
		return st.ModTime(), true
	}
	return rec.Created, slices.ContainsFunc(rec.Names, func(n string) bool { return strings.HasPrefix(n, layerName("")) })
}

// PruneCache removes cached steps until the limit is kept, and returns them. The error is ErrInUse while a build runs.
func (s *Store) PruneCache(ctx context.Context, limit CacheLimit) (removed []CachedStep, err error) {
	lock, err := s.cacheLock(flock.Try, flock.Exclusive)
	if errors.Is(err, flock.ErrLocked) {
		return nil, fmt.Errorf("the build cache is %w: try again when it has ended", ErrInUse)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	steps, err := s.CachedSteps()
	if err != nil {
		return nil, err
	}
	for _, step := range doomed(steps, limit, s.o.Now()) {
		if err := ctx.Err(); err != nil {
			return removed, context.Cause(ctx)
		}
		if err := s.removeStep(step); err != nil {
			return removed, err
		}
		removed = append(removed, step)
	}
	return removed, s.sweepNotes()
}

// doomed are the steps to remove, those that stand on others first. steps are sorted, the last used first; a step was used
// when those on it were, and comes before them. What stands on a step that goes, as it is too large for what may stay, goes too.
func doomed(steps []CachedStep, limit CacheLimit, now time.Time) []CachedStep {
	var gone []CachedStep
	var kept int64
	below := map[string]bool{} // what goes
	for _, step := range steps {
		kept += step.Size
		if limit.All || limit.Unused > 0 && now.Sub(step.Used) > limit.Unused || limit.Size > 0 && kept > limit.Size || below[step.Parent] {
			kept -= step.Size
			gone, below[step.ID] = append(gone, step), true
		}
	}
	return childrenFirst(gone)
}

// childrenFirst orders steps so that each comes before the one it stands on, and adds none.
func childrenFirst(steps []CachedStep) []CachedStep {
	depth := map[string]int{}
	parent := map[string]string{}
	for _, s := range steps {
		parent[s.ID] = s.Parent
	}
	for _, s := range steps {
		for id := s.ID; ; id = parent[id] {
			if _, ok := parent[id]; !ok {
				break
			}
			depth[s.ID]++
		}
	}
	slices.SortStableFunc(steps, func(a, b CachedStep) int { return depth[b.ID] - depth[a.ID] })
	return steps
}

// removeStep removes a layer. One that something stands on by now stays, and so do its names.
func (s *Store) removeStep(step CachedStep) error {
	err := withDeepTrees(func() error { return s.st.DeleteLayer(step.ID) })
	if err != nil && !inUse(err) && !errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("removing cached step %s: %w", step.ID, err)
	}
	if err == nil {
		return s.removeOrphans(step.Parent)
	}
	return nil
}

// removeOrphans removes the layers of a base image that was deleted before the steps on it: nothing stands on them any more.
func (s *Store) removeOrphans(id string) error {
	for id != "" {
		rec, err := s.st.Layer(id)
		if err != nil {
			return nil //nolint:nilerr // gone already
		}
		if _, ours := s.madeByBuild(rec); ours || rec.ReadOnly {
			return nil
		}
		if err := s.st.DeleteLayer(id); err != nil {
			if inUse(err) || errors.Is(err, storage.ErrLayerUnknown) {
				return nil
			}
			return fmt.Errorf("removing layer %s: %w", id, err)
		}
		id = rec.Parent
	}
	return nil
}

// sweepNotes removes what is noted of layers that are gone, and facts that nobody has asked for lately.
func (s *Store) sweepNotes() error {
	layers, err := s.st.Layers()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for i := range layers {
		known[layers[i].ID] = true
		for _, n := range layers[i].Names {
			known[strings.TrimPrefix(n, layerName(""))] = true
		}
	}
	old := s.o.Now().Add(-30 * 24 * time.Hour)
	for _, dir := range []string{"cache", "listings", "made", "facts", "times"} {
		base := filepath.Join(s.st.GraphRoot(), "slipway", dir)
		entries, err := os.ReadDir(base)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			info, err := e.Info()
			name, _, _ := strings.Cut(e.Name(), ".")
			if err != nil || known[name] || dir == "facts" && info.ModTime().After(old) {
				continue
			}
			if err := os.Remove(filepath.Join(base, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// pruneSeldom bounds how often the automatic limit is looked at.
const pruneSeldom = time.Hour

// LimitCache keeps a limit at the end of a build, at most once an hour. Another build that runs is a reason to leave it to that one.
func (s *Store) LimitCache(ctx context.Context, limit CacheLimit) error {
	dir, err := s.dir("")
	if err != nil {
		return err
	}
	mark, now := filepath.Join(dir, "pruned"), s.o.Now()
	if st, err := os.Stat(mark); err == nil && now.Sub(st.ModTime()) < pruneSeldom {
		return nil
	}
	removed, err := s.PruneCache(ctx, limit)
	if errors.Is(err, ErrInUse) {
		return nil
	}
	if err != nil {
		return err
	}
	s.o.Log.Debug("kept the build cache within its limit", "removed", len(removed))
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	return os.Chtimes(mark, now, now)
}

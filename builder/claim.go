package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/internal/flock"
)

// A claim is a file beside the marks of workspaces that lists the layers an operation makes or relies on until an image stands on them. A
// layer is listed before it is made: of an operation that was killed, what no image stands on is found there and removed. Of two operations
// with one layer, the one that fails leaves it to the other. Claims are read, written and ended under the lock that all who make layers
// hold; nobody writes a dead one.
type claim struct {
	s    *Store
	file string
	lock *flock.Lock // nil before the first layer
}

const (
	// committing begins the names of claims that the next command sweeps.
	committing = "layers-"
	// pulling begins those that only a prune sweeps: a pull that was killed or cut off goes on from what arrived.
	pulling = "pulled-"
	// claimMade and claimUsed begin their lines: the layer is the operation's own to remove, or was there.
	claimMade, claimUsed = "made ", "used "
)

func isClaim(name string) bool {
	return strings.HasPrefix(name, committing) || strings.HasPrefix(name, pulling)
}

func (s *Store) claim(kind string) *claim {
	return &claim{s: s, file: filepath.Join(s.st.GraphRoot(), "slipway", "live", kind+newID()[:16])}
}

// add lists a layer; the lock of layers is held. One that has the files of a container goes with the container.
func (c *claim) add(l layer.Claimed) error {
	if l.Moved {
		return nil
	}
	if c.lock == nil {
		lock, err := c.s.live(filepath.Base(c.file))
		if err != nil {
			return err
		}
		c.lock = lock
	}
	kind := claimMade
	if l.There {
		kind = claimUsed
	}
	return appendLine(c.file, kind+l.ID)
}

func appendLine(file, line string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// end drops the claim. With remove, the layers that it made and that nothing needs go.
func (c *claim) end(remove bool) error {
	if c.lock == nil {
		return nil
	}
	lock := c.lock
	c.lock = nil
	if !remove {
		return lock.Remove()
	}
	layers, err := layer.Lock(c.s.st, flock.Acquire)
	if err != nil {
		return errors.Join(err, lock.Close()) // the next command tries again
	}
	defer layers.Close()
	if err := c.s.dropClaimed(c.file); err != nil {
		return errors.Join(err, lock.Close())
	}
	return lock.Remove()
}

// keep ends the claim but leaves its file, and what it made, to the next prune.
func (c *claim) keep() error {
	if c.lock == nil {
		return nil
	}
	lock := c.lock
	c.lock = nil
	return lock.Close()
}

// sweepClaim removes what a dead claim made; while somebody makes layers the next command does it.
func (s *Store) sweepClaim(file string) error {
	layers, err := layer.Lock(s.st, flock.Try)
	if err != nil {
		return err
	}
	defer layers.Close()
	return s.dropClaimed(file)
}

// SweepPulls removes the layers that pulls left when they were killed or cut off.
func (s *Store) SweepPulls() error {
	return s.sweepMarks(func(name string) bool { return strings.HasPrefix(name, pulling) })
}

// forgetPulls removes the claims of dead pulls that nothing is left of to remove: images stand on their layers by now, as that of the pull
// which went on from there, or they are gone.
func (s *Store) forgetPulls() error {
	dead, err := filepath.Glob(filepath.Join(s.st.GraphRoot(), "slipway", "live", pulling+"*"))
	if err != nil || len(dead) == 0 {
		return err
	}
	left, err := s.unusedLayers()
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range dead {
		lock, err := flock.Try(file, flock.Exclusive)
		if err != nil {
			continue // alive
		}
		text, err := os.ReadFile(file)
		waits := slices.ContainsFunc(strings.Split(string(text), "\n"), func(line string) bool {
			id, made := strings.CutPrefix(line, claimMade)
			return made && left[id]
		})
		if err == nil && !waits {
			errs = append(errs, lock.Remove())
			continue
		}
		errs = append(errs, err, lock.Close())
	}
	return errors.Join(errs...)
}

// unusedLayers are those that no image stands on.
func (s *Store) unusedLayers() (map[string]bool, error) {
	layers, err := s.st.Layers()
	if err != nil {
		return nil, err
	}
	images, err := s.allImages()
	if err != nil {
		return nil, err
	}
	left, parent := map[string]bool{}, map[string]string{}
	for i := range layers {
		left[layers[i].ID], parent[layers[i].ID] = true, layers[i].Parent
	}
	for i := range images {
		for id := images[i].TopLayer; id != ""; id = parent[id] {
			delete(left, id)
		}
	}
	return left, nil
}

// dropClaimed removes the layers that a claim made, or leaves them to others that claim them. The lock of layers is held.
func (s *Store) dropClaimed(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	others, err := s.otherClaims(file)
	if err != nil {
		return err
	}
	var own []string
	lines := strings.Split(string(text), "\n")
	for _, line := range lines[:len(lines)-1] { // the last is empty, or was not written to its end
		id, made := strings.CutPrefix(line, claimMade)
		if !made {
			continue
		}
		err := os.ErrNotExist
		if heir := others[id]; heir != "" {
			err = appendLine(heir, line)
		}
		if errors.Is(err, os.ErrNotExist) { // no heir, or one that has just ended well
			own, err = append(own, id), nil
		}
		if err != nil {
			return err
		}
	}
	return s.dropLayers(own)
}

// dropLayers removes layers unless something needs them. They come in no order: one may only go after those on it.
func (s *Store) dropLayers(ids []string) error {
	for {
		stand := ids[:0:0]
		for _, id := range ids {
			err := s.dropLayer(id)
			if err != nil && !inUse(err) {
				return err
			}
			if err != nil {
				stand = append(stand, id)
			}
		}
		if len(stand) == len(ids) {
			return nil
		}
		ids = stand
	}
}

// otherClaims are the files of the other claims that somebody holds or a prune sweeps, by the layers they list.
func (s *Store) otherClaims(file string) (map[string]string, error) {
	dir := filepath.Dir(file)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	others := map[string]string{}
	for _, e := range entries {
		other := filepath.Join(dir, e.Name())
		if !isClaim(e.Name()) || other == file || strings.HasPrefix(e.Name(), committing) && !held(other) {
			continue
		}
		text, err := os.ReadFile(other)
		if err != nil {
			continue // it has just ended well
		}
		for line := range strings.Lines(string(text)) {
			if _, id, whole := strings.Cut(strings.TrimSuffix(line, "\n"), " "); whole && strings.HasSuffix(line, "\n") {
				others[id] = other
			}
		}
	}
	return others, nil
}

// held tells whether somebody holds a mark.
func held(file string) bool {
	lock, err := flock.Try(file, flock.Shared)
	if err != nil {
		return true
	}
	_ = lock.Close()
	return false
}

// dropLayer removes a layer; the error is one of inUse if something needs it.
func (s *Store) dropLayer(id string) error {
	rec, err := s.st.Layer(id)
	if err != nil {
		return nil //nolint:nilerr // gone already, or never made
	}
	if _, ours := s.madeByBuild(rec); ours || rec.ReadOnly {
		return nil
	}
	s.makeRoom()
	if err := s.st.DeleteLayer(id); err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("removing layer %s: %w", id, err)
	}
	return nil
}

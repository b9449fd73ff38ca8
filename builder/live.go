package builder

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage"

	"github.com/slipway-build/slipway/internal/flock"
)

// Internal layers (workspaces), scratch directories, claims of layers and processes that make layers carry a file in <root>/slipway/live that is locked for as long as their
// maker lives. A lock, not a process number: stores are shared between pods, process numbers are not
// (decisions.md §1.3).

// newID makes a storage ID.
func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// live marks a layer that is about to be made as alive.
func (s *Store) live(id string) (*flock.Lock, error) {
	dir, err := s.dir("live")
	if err != nil {
		return nil, fmt.Errorf("preparing storage: %w", err)
	}
	return flock.Acquire(filepath.Join(dir, id), flock.Exclusive)
}

// sweep removes the workspaces and layers that dead commands left. It reads one small directory, never the store's lists.
func (s *Store) sweep() error {
	return s.sweepMarks(func(name string) bool { return !strings.HasPrefix(name, pulling) })
}

// sweepMarks removes what the marks stand for that nobody holds any more.
func (s *Store) sweepMarks(which func(name string) bool) error {
	dir, err := s.dir("live")
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !which(e.Name()) {
			continue
		}
		lock, err := flock.Try(filepath.Join(dir, e.Name()), flock.Exclusive)
		if err != nil {
			continue // alive
		}
		if err := s.deleteDead(dir, e.Name()); err != nil {
			errs = append(errs, err, lock.Close())
			continue
		}
		s.o.Log.Debug("removed what a dead command left", "mark", e.Name())
		errs = append(errs, lock.Remove())
	}
	return errors.Join(errs...)
}

// deleteDead removes what an unlocked mark stands for.
func (s *Store) deleteDead(dir, name string) error {
	if strings.HasPrefix(name, scratchPrefix) {
		return s.removeScratch(filepath.Join(dir, name))
	}
	if strings.HasPrefix(name, stagingMarks) {
		return sweepStaging(filepath.Join(dir, name))
	}
	if isClaim(name) {
		return s.sweepClaim(filepath.Join(dir, name))
	}
	return s.deleteWorkspace(name)
}

// deleteWorkspace removes the layer of a workspace whose process is dead, mounted or not; one that is gone already is fine.
func (s *Store) deleteWorkspace(id string) error {
	if _, err := s.st.Layer(id); errors.Is(err, storage.ErrLayerUnknown) {
		return nil
	}
	s.makeRoom()
	if _, err := s.st.Unmount(id, true); err != nil && !errors.Is(err, storage.ErrLayerNotMounted) {
		s.o.Log.Debug("unmounting", "layer", id, "error", err)
	}
	return s.deleteUnmounted(id)
}

// deleteUnmounted removes the layer of a workspace that only this process has mounted; storage knows of its mounts and ends them.
func (s *Store) deleteUnmounted(id string) error {
	if err := withDeepTrees(func() error { return s.st.DeleteLayer(id) }); err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return fmt.Errorf("removing layer %s: %w", id, err)
	}
	return nil
}

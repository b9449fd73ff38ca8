package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
)

// PruneMounts removes what cache mounts hold, but for those that a command uses, and returns how many bytes that were.
func (s *Store) PruneMounts() (freed int64, err error) {
	dirs, err := s.mountDirs("data", removedMount)
	if err != nil {
		return 0, err
	}
	for _, dir := range dirs {
		lock, err := flock.Try(filepath.Join(dir, "lock"), flock.Exclusive)
		if err != nil {
			continue // in use
		}
		size, err := removeMount(dir)
		if err = errors.Join(err, lock.Close()); err != nil {
			return freed, fmt.Errorf("removing a cache mount: %w", err)
		}
		freed += size
	}
	return freed, nil
}

// removedMount is what the content of a cache is called from the moment it is removed: whoever is killed at that must not leave half of it
// to the next command. The next removal, or the next maker of the cache, removes the rest.
const removedMount = "removed"

// removeMount removes the content of a cache, which the caller has locked, and what is left of an earlier one.
func removeMount(dir string) (size int64, err error) {
	data, gone := filepath.Join(dir, "data"), filepath.Join(dir, removedMount)
	size = treeSize(data) + treeSize(gone)
	if err := rootfs.RemoveTree(gone); err != nil {
		return 0, err
	}
	if err := os.Rename(data, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return size, rootfs.RemoveTree(gone)
}

// mountDirs are the directories of caches that have one of the files or directories.
func (s *Store) mountDirs(having ...string) ([]string, error) {
	base := filepath.Join(s.st.GraphRoot(), "slipway", "mounts")
	entries, err := os.ReadDir(base)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		if slices.ContainsFunc(having, func(name string) bool { _, err := os.Lstat(filepath.Join(dir, name)); return err == nil }) {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// A MountUse is what a cache mount holds.
type MountUse struct {
	// ID is what the Dockerfile calls it.
	ID   string
	Size int64 // in bytes
	// Used is when a command used it last.
	Used time.Time
}

// CacheMounts lists the cache mounts, those that were used last first.
func (s *Store) CacheMounts() ([]MountUse, error) {
	dirs, err := s.mountDirs("data")
	if err != nil {
		return nil, err
	}
	list := make([]MountUse, 0, len(dirs))
	for _, dir := range dirs {
		use := MountUse{Size: treeSize(filepath.Join(dir, "data"))}
		if id, err := os.ReadFile(filepath.Join(dir, "id")); err == nil {
			use.ID = strings.TrimSuffix(string(id), "\n")
		}
		if st, err := os.Stat(filepath.Join(dir, "lock")); err == nil {
			use.Used = st.ModTime().UTC()
		}
		list = append(list, use)
	}
	slices.SortStableFunc(list, func(a, b MountUse) int { return b.Used.Compare(a.Used) })
	return list, nil
}

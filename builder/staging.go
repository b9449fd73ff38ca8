package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
)

// stagingMarks begin the names of files in <root>/slipway/live that list the directories of storage's in which a process has layers come to
// be. Storage forgets those of a process that was killed; by its mark the next command finds them.
const stagingMarks = "staging-"

// A stagingMark is this process's, made with the first directory.
type stagingMark struct {
	mu   sync.Mutex
	file string
	lock *flock.Lock
}

// stagingNote is a line of a mark. The number of the directory tells it from a later one of that name.
type stagingNote struct {
	layer.Staging
	Inode uint64
}

// noteStaging lists a directory in this process's mark.
func (s *Store) noteStaging(d layer.Staging) error {
	m := &s.staging
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lock == nil {
		name := stagingMarks + newID()[:16]
		lock, err := s.live(name)
		if err != nil {
			return err
		}
		m.lock, m.file = lock, filepath.Join(s.st.GraphRoot(), "slipway", "live", name)
	}
	inode, err := inodeOf(d.Dir)
	if err != nil {
		return err
	}
	text, err := json.Marshal(stagingNote{d, inode})
	if err != nil {
		return err
	}
	return appendLine(m.file, string(text))
}

// end forgets the directories: none is in use any more.
func (m *stagingMark) end() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lock == nil {
		return nil
	}
	lock := m.lock
	m.lock = nil
	return lock.Remove()
}

// sweepStaging removes the directories that a dead process's mark lists. One with a container's files is the next commit's of that container.
func sweepStaging(mark string) error {
	text, err := os.ReadFile(mark)
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(text)) {
		var n stagingNote
		if json.Unmarshal([]byte(line), &n) != nil {
			continue // it was not written to its end, nothing is in the directory
		}
		if inode, err := inodeOf(n.Dir); err == nil && inode == n.Inode {
			errs = append(errs, removeStaging(n.Staging))
		}
	}
	return errors.Join(errs...)
}

func removeStaging(d layer.Staging) error {
	if d.Moved {
		if err := os.Remove(filepath.Join(d.Dir, "dir")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping a container's files: %w", err)
		}
	}
	if err := unix.Unmount(filepath.Join(d.Dir, "merged"), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting what a dead command left: %w", err)
	}
	return rootfs.RemoveTree(d.Dir)
}

func inodeOf(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st.Ino, nil
}

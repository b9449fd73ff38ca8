package builder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/builder/internal/layer"
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
	text, err := json.Marshal(d)
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

// sweepStaging removes the directories that a dead process's mark lists.
func sweepStaging(mark string) error {
	text, err := os.ReadFile(mark)
	if err != nil {
		return err
	}
	var errs []error
	for line := range strings.Lines(string(text)) {
		var d layer.Staging
		if json.Unmarshal([]byte(line), &d) != nil {
			continue // it was not written to its end, nothing is in the directory
		}
		errs = append(errs, d.Remove())
	}
	return errors.Join(errs...)
}

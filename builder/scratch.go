package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	dockerarchive "github.com/containers/image/v5/docker/archive"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/types"

	"github.com/slipway-build/slipway/builder/internal/network"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/cgroup"
	"github.com/slipway-build/slipway/internal/flock"
)

// scratchPrefix begins the name of a scratch directory, and that of the file that says it is alive.
const scratchPrefix = "slipway-tmp-"

// scratch makes a directory for large temporary files of one operation. The library's own files go there, so that what
// a killed program leaves can be found: the file in <root>/slipway/live says where the directory is, and is locked while it
// is used. The caller calls done.
func (s *Store) scratch() (dir string, done func() error, err error) { return s.scratchIn(s.o.TempDir) }

// scratchIn is scratch below another directory.
func (s *Store) scratchIn(base string) (dir string, done func() error, err error) {
	live, err := s.dir("live")
	if err != nil {
		return "", nil, err
	}
	name := scratchPrefix + newID()[:16]
	mark := filepath.Join(live, name)
	lock, err := flock.Acquire(mark, flock.Exclusive)
	if err != nil {
		return "", nil, fmt.Errorf("making a temporary directory: %w", err)
	}
	dir = filepath.Join(base, name)
	err = os.WriteFile(mark, []byte(dir), 0o600)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("making a temporary directory: %w", err), lock.Remove())
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Remove()) }, nil
}

// swept calls f with a context whose temporary files, the unpacked content of archives, are found if the program is killed.
func (s *Store) swept(ref types.ImageReference, sys *types.SystemContext, f func(*types.SystemContext) error) error {
	if name := ref.Transport().Name(); name != ociarchive.Transport.Name() && name != dockerarchive.Transport.Name() {
		return f(sys)
	}
	dir, done, err := s.scratch()
	if err != nil {
		return err
	}
	own := *sys
	own.BigFilesTemporaryDir = dir
	return errors.Join(f(&own), done())
}

// Scratch makes a directory for the files of one operation of the caller's. It is gone after done, or, if the program is killed, after
// the next one that opens the store.
func (s *Store) Scratch() (dir string, done func() error, err error) { return s.scratch() }

// removeScratch removes the directory that a dead program's mark names, and what the program has left of a command: connected networks,
// cgroups.
func (s *Store) removeScratch(mark string) error {
	dir, err := os.ReadFile(mark)
	if err != nil || len(dir) == 0 {
		return err
	}
	if filepath.Base(string(dir)) != filepath.Base(mark) || !strings.HasPrefix(filepath.Base(mark), scratchPrefix) {
		return fmt.Errorf("%s names a directory that is not ours: %q", mark, dir)
	}
	if err := network.Undo(string(dir)); err != nil {
		s.o.Log.Warn(err.Error()) // once: what cannot be undone now is not likely to be later
	}
	if err := cgroup.RemoveLeft(string(dir), runner.ContainerID(string(dir))); err != nil {
		return err // the next one will find them empty
	}
	return os.RemoveAll(string(dir))
}

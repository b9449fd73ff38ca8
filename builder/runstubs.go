package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
)

// What commands make in the root file system only to mount on is removed when no command of the container needs it any more:
// by the last that ends, as one that is removed takes away what another command has mounted on it. A container's file of it
// outlives a command that is killed.

// stubs is what one command has made to mount on, among the others in its container.
type stubs struct {
	made runner.Stubs
	file *os.File // nil where commands cannot meet: in a build's workspace
	lock *flock.Lock
	err  error
}

// madeFor starts to note what a command of this workspace makes.
func (w *Workspace) madeFor() (*stubs, error) {
	if w.notes == "" {
		return &stubs{}, nil
	}
	lock, err := flock.Acquire(filepath.Join(w.notes, "slipway.runs"), flock.Shared)
	if err != nil {
		return nil, fmt.Errorf("preparing to run: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(w.notes, stubsFile), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing to run: %w", err), lock.Close())
	}
	return &stubs{file: file, lock: lock}, nil
}

// add notes what was made.
func (s *stubs) add(made runner.Stubs) {
	s.made.Add(made)
	if s.file == nil || len(made.Created) == 0 {
		return
	}
	line, err := json.Marshal(made)
	if err == nil {
		_, err = s.file.Write(append(line, '\n')) // in one call: others write too
	}
	s.err = err
}

// remove takes away what was made, by this command and by those that ended before it, unless another one is running.
func (s *stubs) remove(root *rootfs.Root) (err error) {
	if s.file == nil {
		return removeStubs(root, s.made)
	}
	defer func() { err = errors.Join(err, s.file.Close(), s.lock.Close()) }()
	if s.err != nil {
		return errors.Join(fmt.Errorf("noting mount points: %w", s.err), removeStubs(root, s.made))
	}
	err = s.lock.Only()
	if errors.Is(err, flock.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := s.all()
	if err != nil || len(all.Created) == 0 {
		return err
	}
	return errors.Join(removeStubs(root, all), s.file.Truncate(0))
}

// all is what the file tells of. The last line of a command that was killed, or that found no room, may be a part of one.
func (s *stubs) all() (all runner.Stubs, err error) {
	data, err := io.ReadAll(io.NewSectionReader(s.file, 0, maxStubs))
	if err != nil {
		return all, fmt.Errorf("reading mount points: %w", err)
	}
	for line := range bytes.Lines(data) {
		var made runner.Stubs
		if json.Unmarshal(line, &made) == nil {
			all.Add(made)
		}
	}
	return all, nil
}

// afterKilled takes away what commands that were killed have left, unless one is running.
func (w *Workspace) afterKilled() error {
	if st, err := os.Stat(filepath.Join(w.notes, stubsFile)); err != nil || st.Size() == 0 {
		return nil //nolint:nilerr // nothing was run
	}
	return w.mounted(func(mountpoint string) error {
		root, err := rootfs.Open(mountpoint, w.s.own)
		if err != nil {
			return err
		}
		defer root.Close()
		made, err := w.madeFor()
		if err != nil {
			return err
		}
		return made.remove(root)
	})
}

// The file of a container's directory that tells what is there to mount on, and the most that is read of it.
const stubsFile = "slipway.stubs"
const maxStubs = 1 << 24

// removeStubs takes away what the run made to mount on, if it is still empty, through descriptors below the root and
// never through links that the command may have put there (CVE-2024-23652). Directories then have the times again that they
// had before the run, or that the command gave them.
func removeStubs(root *rootfs.Root, made runner.Stubs) error {
	times := map[string]time.Time{}
	for _, t := range made.Times {
		i, err := root.Lstat(t.Path)
		switch {
		case err != nil || !i.IsDir(): // the command removed it
		case i.Mtime.Equal(t.After):
			times[t.Path] = t.Mtime
		default:
			times[t.Path] = i.Mtime
		}
	}
	for _, s := range slices.Backward(made.Created) {
		if err := removeStub(root, s.Path, s.Dir); err != nil {
			return fmt.Errorf("removing mount point %s: %w", s.Path, err)
		}
	}
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(times))) {
		d, err := root.Dir(name)
		if err != nil {
			continue // it was made for the run
		}
		err = d.Utimes(".", times[name])
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func removeStub(root *rootfs.Root, name string, dir bool) error {
	parent, err := root.Dir(path.Dir(name))
	if err != nil {
		return nil //nolint:nilerr // the command removed it
	}
	defer parent.Close()
	if dir {
		err = parent.Rmdir(path.Base(name))
	} else if i, lerr := parent.Lstat(path.Base(name)); lerr == nil && i.IsRegular() && i.Size == 0 {
		err = parent.Unlink(path.Base(name))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

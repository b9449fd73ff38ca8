package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Staging is a directory of storage's in which a layer comes to be.
type Staging struct {
	Dir string
	// Moved says that it gets the very files of a container: while any are in it, it is not to be removed.
	Moved bool
	// Note is there as long as the container is whose files they are (spend.go).
	Note string `json:",omitempty"`
	// Inode tells the directory from a later one of that name.
	Inode uint64
}

// noteStaging tells note of the directory of the one that storage gives to be filled.
func noteStaging(note func(Staging) error, dest string, s Staging) error {
	if note == nil {
		return nil
	}
	var err error
	s.Dir = filepath.Dir(dest)
	if s.Inode, err = inodeOf(s.Dir); err != nil {
		return err
	}
	return note(s)
}

// Remove removes what a process that is dead has left of it, if that is still there. The error is one as well while it has a container's files: they
// are the next commit's.
func (s Staging) Remove() error {
	if inode, err := inodeOf(s.Dir); err != nil || inode != s.Inode {
		return nil //nolint:nilerr // it is gone
	}
	if s.Moved && !s.orphaned() {
		if err := os.Remove(filepath.Join(s.Dir, "dir")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping a container's files: %w", err)
		}
	}
	if err := unix.Unmount(filepath.Join(s.Dir, mergedName), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmounting what a dead command left: %w", err)
	}
	return rootfs.RemoveTree(s.Dir)
}

// orphaned tells whether the container whose files it has is gone: it was a build's, or somebody has removed it.
func (s Staging) orphaned() bool {
	if s.Note == "" {
		return false
	}
	_, err := os.Lstat(s.Note)
	return errors.Is(err, fs.ErrNotExist)
}

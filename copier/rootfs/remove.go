package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

// openLevels is how many directories a removal keeps open. A hostile tree has more levels than a process may have files.
const openLevels = 64

// RemoveTree is os.RemoveAll for a directory of this machine that has files of a container in it: it goes as deep as they do.
func RemoveTree(name string) error {
	dir, base := path.Split(path.Clean(name))
	fd, err := unix.Open(path.Clean(dir), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &PathError{Op: "open", Path: dir, Err: err}
	}
	d := &Dir{fd: fd, name: path.Clean(dir), own: Apply} // records go with the files that have them
	defer d.Close()
	return d.RemoveAll(base)
}

// RemoveAll removes an entry and all below it; nothing there is no error.
func (d *Dir) RemoveAll(name string) error {
	isDir, err := d.unlinked(name)
	if !isDir {
		return err
	}
	top, err := d.Dir(name)
	if err != nil {
		return err
	}
	defer top.Close()
	r := removal{top: top}
	for moved := -1; moved != r.moved; { // until nothing has come up from below
		moved = r.moved
		if err := r.empty(top, 1); err != nil {
			return err
		}
	}
	return d.Rmdir(name)
}

// unlinked removes an entry unless it is a directory.
func (d *Dir) unlinked(name string) (isDir bool, err error) {
	err = d.Unlink(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.EPERM):
		return true, nil
	}
	return false, err
}

// A removal empties the directory top. What is too deep below is moved up into it first.
type removal struct {
	top   *Dir
	moved int
}

func (r *removal) empty(d *Dir, level int) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		isDir, err := d.unlinked(name)
		if isDir && (level < openLevels || !r.moveUp(d, name)) {
			err = r.directory(d, name, level)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *removal) directory(d *Dir, name string, level int) error {
	sub, err := d.Dir(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was quicker
	}
	if err != nil {
		return err
	}
	err = r.empty(sub, level+1)
	sub.Close()
	if err != nil {
		return err
	}
	return d.Rmdir(name)
}

// moveUp moves a directory to the top. Where that is not possible, as with one of a layer below on overlay, it stays.
func (r *removal) moveUp(d *Dir, name string) bool {
	for {
		r.moved++
		err := unix.Renameat2(d.fd, name, r.top.fd, fmt.Sprintf("removed-%d", r.moved), unix.RENAME_NOREPLACE)
		if err == nil {
			return true
		}
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

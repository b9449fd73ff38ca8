package layer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// A spent container's upper directory is renamed to be the layer's. Should the process die between that and the
// end, the container must not be taken for one that changed nothing: a note beside the directory says what
// became of it, and a further commit finishes the work.

// noteName is a file in storage's directory of the writable layer; it goes when that goes.
const noteName = "slipway-spent"

type note struct {
	Result
	Inode   uint64 // of the upper directory
	Staging string // where it was moved to
}

func (t *task) notePath() string { return filepath.Join(filepath.Dir(t.upper), noteName) }

// spend moves the upper directory to the staging directory, which is empty.
func (t *task) spend(res Result, staging string) error {
	if !t.o.Move {
		return nil
	}
	ino, err := inodeOf(t.upper)
	if err != nil {
		return err
	}
	text, err := json.Marshal(note{res, ino, staging})
	if err != nil {
		return err
	}
	// Renamed into place: half a note would be worse than none.
	part := t.notePath() + ".new"
	err = os.WriteFile(part, text, 0o600)
	if err == nil {
		err = os.Rename(part, t.notePath())
	}
	if err != nil {
		return fmt.Errorf("moving changes: %w", err)
	}
	if err := swap(t.upper, staging); err != nil {
		return errors.Join(fmt.Errorf("moving changes: %w", err), os.Remove(t.notePath()))
	}
	return nil
}

// swap moves a directory to the place of an empty one, and that to its own: at any moment storage finds a
// directory at both. File systems that cannot do it at once get there in two steps.
func swap(full, empty string) error {
	err := unix.Renameat2(unix.AT_FDCWD, full, unix.AT_FDCWD, empty, unix.RENAME_EXCHANGE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if err := unix.Rename(full, empty); err != nil {
		return err
	}
	return os.Mkdir(full, 0o755)
}

// unspend puts the directory back, if storage left it where it was.
func (t *task) unspend(staging string) error {
	if !t.o.Move {
		return nil
	}
	return t.putBack(staging)
}

func (t *task) putBack(staging string) error {
	if err := os.Mkdir(t.upper, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("moving changes back: %w", err)
	}
	if err := swap(staging, t.upper); err != nil {
		return fmt.Errorf("moving changes back: %w", err)
	}
	return os.Remove(t.notePath())
}

// Moved is the layer that the files of a writable layer have become, "" if they are where they were.
func Moved(st storage.Store, rw string) (string, error) {
	l, err := st.Layer(rw)
	if err != nil {
		return "", fmt.Errorf("reading layer %s: %w", rw, err)
	}
	t, err := newTask(context.Background(), st, l, "", Options{})
	if err != nil {
		return "", err
	}
	res, moved, err := t.spent()
	if !moved {
		return "", err
	}
	return res.ID, err
}

// spent tells whether an earlier commit died after it had moved the changes, and what it was about to return.
func (t *task) spent() (res Result, moved bool, err error) {
	if t.upper == "" {
		return res, false, nil
	}
	text, err := os.ReadFile(t.notePath())
	if errors.Is(err, fs.ErrNotExist) {
		return res, false, nil
	}
	var n note
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	if err != nil {
		return res, false, fmt.Errorf("reading what became of layer %s: %w", t.rw.ID, err)
	}
	ino, err := inodeOf(t.upper)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return res, false, err
	}
	if ino == n.Inode {
		return n.Result, false, nil
	}
	back, err := t.bringBack(n)
	return n.Result, !back, err
}

// bringBack undoes the move if the directory got no further than the staging directory. A container that was used
// since is left alone: what is there must not be lost either.
func (t *task) bringBack(n note) (bool, error) {
	ino, err := inodeOf(n.Staging)
	if err != nil || ino != n.Inode {
		return false, nil //nolint:nilerr // it is not there
	}
	if entries, err := os.ReadDir(t.upper); err == nil && len(entries) > 0 {
		return false, nil
	}
	return true, t.putBack(n.Staging)
}

// resume finishes such a commit: nothing is left to do if the layer is there.
func (t *task) resume(res Result) (Result, error) {
	entries, err := os.ReadDir(t.upper)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	_, err = t.st.Layer(res.ID)
	if err != nil && !errors.Is(err, storage.ErrLayerUnknown) {
		return Result{}, err
	}
	if err != nil || len(entries) > 0 {
		return Result{}, t.errSpent(res)
	}
	return res, t.place(res.ID, nil)
}

func (t *task) errSpent(res Result) error {
	return fmt.Errorf("the changes of layer %s were moved to layer %s by a commit that was killed", t.rw.ID, res.ID)
}

func inodeOf(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, pathError("stat", dir, err)
	}
	return st.Ino, nil
}

package layer

import (
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
	Inode uint64 // of the upper directory
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
	text, err := json.Marshal(note{res, ino})
	if err != nil {
		return err
	}
	if err := os.WriteFile(t.notePath(), text, 0o600); err != nil {
		return fmt.Errorf("moving changes: %w", err)
	}
	if err := unix.Rename(t.upper, staging); err != nil {
		return errors.Join(fmt.Errorf("moving changes: %w", err), os.Remove(t.notePath()))
	}
	// Storage's own check wants to find a directory until the container is deleted.
	if err := os.Mkdir(t.upper, 0o755); err != nil {
		return errors.Join(fmt.Errorf("moving changes: %w", err), t.unspend(staging))
	}
	return nil
}

// unspend puts the directory back, if storage left it where it was.
func (t *task) unspend(staging string) error {
	if !t.o.Move {
		return nil
	}
	if err := unix.Rename(staging, t.upper); err != nil {
		return fmt.Errorf("moving changes back: %w", err)
	}
	return os.Remove(t.notePath())
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
	return n.Result, ino != n.Inode, nil
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

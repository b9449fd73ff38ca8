package layer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/storage"

	"github.com/slipway-build/slipway/internal/flock"
)

// place has put store the layer id unless it is there already; either way it bears the names afterwards.
// One builder at a time: storage replaces the directory of a staged layer whose ID appears after we looked, even
// one that is mounted.
func (t *task) place(id string, put func(names []string) error) error {
	dir := filepath.Join(t.st.GraphRoot(), "slipway")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := flock.Acquire(filepath.Join(dir, "layers.lock"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	exists, err := t.known(id)
	if err != nil || exists {
		return errors.Join(err, t.addNames(id, t.o.Names))
	}
	// A name that another layer has is an error to give at once, but may be moved.
	var free, taken []string
	for _, name := range t.o.Names {
		used, err := t.known(name)
		if err != nil {
			return err
		}
		if used {
			taken = append(taken, name)
		} else {
			free = append(free, name)
		}
	}
	if err := put(free); err != nil {
		if errors.Is(err, storage.ErrDuplicateID) { // another tool was faster
			return t.addNames(id, t.o.Names)
		}
		return err
	}
	return t.addNames(id, taken)
}

func (t *task) known(id string) (bool, error) {
	_, err := t.st.Layer(id)
	if errors.Is(err, storage.ErrLayerUnknown) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking up layer %s: %w", id, err)
	}
	return true, nil
}

func (t *task) addNames(id string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := t.st.AddNames(id, names); err != nil {
		return fmt.Errorf("naming layer %s: %w", id, err)
	}
	return nil
}

// commitChanged compares file systems, for drivers whose layers are whole trees and where overlay's upper
// directory does not say it all.
func (t *task) commitChanged() (res Result, err error) {
	// The layer may be over storage's copy of the base with the owners mapped. The base itself says what is meant.
	err = t.mount(changed, t.parent, func(dir string, w *walker) error {
		res, err = t.spool(dir, w)
		return err
	})
	return res, err
}

// squash stores the whole tree.
func (t *task) squash() (res Result, err error) {
	err = t.wholeTree(func(dir string, w *walker) error {
		if t.staged {
			res, err = t.stage(&differ{t: t, dir: dir, walk: w})
		} else {
			res, err = t.spool(dir, w)
		}
		return err
	})
	return res, err
}

// wholeTree calls f with the mount point of the whole tree; the base only tells whether it has what runs mount on.
func (t *task) wholeTree(f func(dir string, w *walker) error) error {
	if t.staged {
		return t.mounted(t.shown(), func(dir string) error { return f(dir, t.walker(whole, t.lower)) })
	}
	return t.mount(whole, t.rw.Parent, f)
}

// spool writes the tar to a temporary file, as its digest must be known before it is stored, and stores it by
// the library's ordinary way.
func (t *task) spool(dir string, walk *walker) (Result, error) {
	f, err := unlinked(t.o.TempDir)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	res, err := t.write(dir, walk, f)
	if err != nil {
		return Result{}, err
	}
	if res.Empty && !t.o.AllowEmpty {
		return Result{Empty: true}, nil
	}
	res.ID = ID(t.parent, res.DiffID)
	return res, t.place(res.ID, func(names []string) error { return t.put(res, names, f) })
}

// write writes the tar of a directory, which stays as it is.
func (t *task) write(dir string, walk *walker, out io.Writer) (Result, error) {
	src, err := openDir(dir)
	if err != nil {
		return Result{}, err
	}
	defer src.Close()
	walk.disk, walk.w = untouchedDisk{}, newWriter(out, nil)
	err = walk.run(src)
	diffID, cerr := walk.w.close()
	if err = errors.Join(err, cerr); err != nil {
		return Result{}, err
	}
	return Result{DiffID: diffID, Size: walk.w.s.size, Empty: walk.w.entries == 0}, nil
}

func (t *task) put(res Result, names []string, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lo := &storage.LayerOptions{OriginalDigest: res.DiffID, UncompressedDigest: res.DiffID, OriginalSize: &res.Size}
	if _, _, err := t.st.PutLayer(res.ID, t.parent, names, "", false, lo, f); err != nil {
		return fmt.Errorf("storing layer: %w", err)
	}
	return nil
}

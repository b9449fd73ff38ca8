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
	lock, err := Lock(t.st, flock.Acquire)
	if err != nil {
		return err
	}
	defer lock.Close()
	exists, err := t.known(id)
	if err == nil {
		err = t.claim(id, exists)
	}
	if err != nil {
		return err
	}
	if exists {
		return t.addNames(id, t.o.Names)
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

// Lock takes, in the way of flock that how is, the lock of all who make layers.
func Lock(st storage.Store, how func(string, flock.Mode) (*flock.Lock, error)) (*flock.Lock, error) {
	dir := filepath.Join(st.GraphRoot(), "slipway")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return how(filepath.Join(dir, "layers.lock"), flock.Exclusive)
}

// Use claims a layer that is in storage, and tells whether it is.
func Use(st storage.Store, id string, claim func(Claimed) error) (bool, error) {
	lock, err := Lock(st, flock.Acquire)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	t := &task{st: st, o: Options{Claim: claim}}
	there, err := t.known(id)
	if err != nil || !there {
		return false, err
	}
	return true, t.claim(id, true)
}

func (t *task) claim(id string, there bool) error {
	if t.o.Claim == nil {
		return nil
	}
	return t.o.Claim(Claimed{id, there, t.o.Move})
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
	t.o.Move = false
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

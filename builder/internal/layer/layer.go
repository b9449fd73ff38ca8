// Package layer turns what a working container changed into a stored layer: one read of the changes, by
// our own descriptor-relative tar writer, gives the layer's digest, and on overlay the directory itself
// becomes the layer. It keeps the conventions that the storage transport of the image library relies on, such as layer IDs. It does not
// know images or histories.
package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Options controls storing a layer.
type Options struct {
	// Names are given to the layer in storage.
	Names []string
	// Epoch sets every time in the layer; Clamp limits times to at most it (containers.md §11.5).
	Epoch, Clamp *time.Time
	// Move says that the writable layer is spent: its files are moved instead of copied.
	Move bool
	// AllowEmpty stores a layer even when nothing was changed.
	AllowEmpty bool
	// Ownership is how owners are kept on disk.
	Ownership rootfs.Ownership
	// TempDir holds the tar where the driver cannot take the directory.
	TempDir string
}

// Result describes the stored layer. Empty says that nothing was changed and no layer was made.
type Result struct {
	ID     string
	DiffID digest.Digest
	Size   int64 // of the tar, in bytes
	Empty  bool
}

// Commit stores the changes that the writable layer rw has over parent ("" for none). An equal layer
// over the same parent that is stored already is taken instead, and gets the names.
func Commit(ctx context.Context, st storage.Store, rw, parent string, o Options) (Result, error) {
	if st.GraphDriverName() == "overlay" && nativeDiff(st) {
		return commitOverlay(ctx, st, rw, parent, o)
	}
	return withMounts(st, rw, parent, func(upper, base *rootfs.Root) (Result, error) {
		return spool(ctx, st, parent, compared(upper, base), o)
	}, o)
}

// Squash stores the whole file system under rw as one layer without a parent.
func Squash(ctx context.Context, st storage.Store, rw string, o Options) (Result, error) {
	o.AllowEmpty = true
	return withMounts(st, rw, "", func(upper, base *rootfs.Root) (Result, error) {
		return spool(ctx, st, "", compared(upper, base), o)
	}, o)
}

// ID is the storage transport's name for a layer: a later pull of the same image finds it by that
// (decisions.md §1.11).
func ID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	sum := sha256.Sum256([]byte(parent + "+" + diffID.Encoded()))
	return hex.EncodeToString(sum[:])
}

// nativeDiff tells whether the upper directory is the difference: no redirects, no metadata-only copies.
func nativeDiff(st storage.Store) bool {
	d, err := st.GraphDriver()
	if err != nil {
		return false
	}
	for _, kv := range d.Status() {
		if kv[0] == "Native Overlay Diff" {
			return kv[1] == "true"
		}
	}
	return false
}

// withMounts opens the file system of rw and that of parent.
func withMounts(st storage.Store, rw, parent string, f func(upper, base *rootfs.Root) (Result, error), o Options) (res Result, err error) {
	upper, done, err := mount(st, rw, o)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	if parent == "" {
		return f(upper, nil)
	}
	base, doneBase, err := mount(st, parent, o)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, doneBase()) }()
	return f(upper, base)
}

func mount(st storage.Store, id string, o Options) (*rootfs.Root, func() error, error) {
	dir, err := st.Mount(id, "")
	if err != nil {
		return nil, nil, fmt.Errorf("mounting layer %s: %w", id, err)
	}
	unmount := func() error { _, err := st.Unmount(id, false); return err }
	root, err := rootfs.Open(dir, o.Ownership)
	if err != nil {
		return nil, nil, errors.Join(err, unmount())
	}
	return root, func() error { return errors.Join(root.Close(), unmount()) }, nil
}

// existing returns the layer of that ID, with the names added, if it is stored already.
func existing(st storage.Store, id string, o Options) (bool, error) {
	if _, err := st.Layer(id); err != nil {
		if errors.Is(err, storage.ErrLayerUnknown) {
			return false, nil
		}
		return false, err
	}
	return true, addNames(st, id, o.Names)
}

// addNames gives names to a layer. Another one that has them loses them, as when a step is executed again with
// another result; to create a layer with a name that is taken would fail instead.
func addNames(st storage.Store, id string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	return st.AddNames(id, names)
}

// spool writes the layer to a temporary file, as its digest must be known before it is stored, and stores it by
// the library's ordinary way.
func spool(ctx context.Context, st storage.Store, parent string, walk walker, o Options) (Result, error) {
	f, err := os.CreateTemp(o.TempDir, "slipway-layer-")
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // it dies with the process
		return Result{}, err
	}
	h := sha256.New()
	w := newWriter(ctx, io.MultiWriter(f, h), o)
	if err := w.run(walk); err != nil {
		return Result{}, err
	}
	if w.entries == 0 && !o.AllowEmpty {
		return Result{Empty: true}, nil
	}
	res := Result{DiffID: digest.NewDigest(digest.SHA256, h)}
	res.ID = ID(parent, res.DiffID)
	if res.Size, err = f.Seek(0, io.SeekCurrent); err != nil {
		return Result{}, err
	}
	if ok, err := existing(st, res.ID, o); ok || err != nil {
		return res, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Result{}, err
	}
	lo := &storage.LayerOptions{OriginalDigest: res.DiffID, UncompressedDigest: res.DiffID, OriginalSize: &res.Size}
	_, _, err = st.PutLayer(res.ID, parent, nil, "", false, lo, f)
	if err != nil && !errors.Is(err, storage.ErrDuplicateID) { // someone else may have stored the same layer meanwhile
		return Result{}, fmt.Errorf("storing layer: %w", err)
	}
	return res, addNames(st, res.ID, o.Names)
}

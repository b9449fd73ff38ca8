// Package layer turns what a working container changed into a stored layer. One read of the changes, by
// our own tar writer, gives the layer's digest and all that storage has to know of it; on overlay the directory
// itself then becomes the layer. The package keeps the conventions that the storage transport of the
// image library relies on, such as layer IDs, so that other tools agree. It does not know images or histories.
//
// The same changes give the same tar, byte for byte, with every storage driver and on every machine
// (containers.md §11.2, §11.5).
package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// Options controls storing a layer.
type Options struct {
	// Names are given to the layer in storage; layers that had them lose them.
	Names []string
	// Epoch sets every time in the layer; Clamp limits times to at most it (containers.md §11.5).
	Epoch, Clamp *time.Time
	// Excludes are what runs made to mount on, as paths from the root. Such a place is left out if it is empty
	// still and the base does not have it, and so are directories above it that did not change otherwise.
	// /dev, /proc and /sys are always among them.
	Excludes []string
	// Move says that the writable layer is spent: its files are moved instead of copied. It may only be
	// deleted afterwards, even if there was an error, except that Commit may be tried again. It is copied all the same
	// while it is mounted.
	Move bool
	// Since is a [Moment] right after the writable layer was made, for drivers whose layers are whole trees. Where it is zero, content is
	// compared, and directories that were replaced cannot be told from others.
	Since time.Time
	// Claim is told of the layer before it is made, or taken as it is there, while nobody else makes or removes layers. nil is told nothing.
	Claim func(Claimed) error
	// Stage is told of the directory of storage's in which the layer comes to be, before anything is in it: who is killed leaves it
	// there. nil is told nothing.
	Stage func(Staging) error
	// AllowEmpty stores a layer even when nothing was changed.
	AllowEmpty bool
	// Ownership is how owners are kept on disk.
	Ownership rootfs.Ownership
	// IDs are the maps that storage applies when it mounts the container named Container, whose layer has none of its own.
	IDs       *idmap.IDs
	Container string
	// TempDir holds the tar where the driver cannot take the directory.
	TempDir string
}

// Claimed is a layer that is about to be made.
type Claimed struct {
	ID string
	// There says that it is in storage already.
	There bool
	// Moved says that it gets the very files of the writable layer: with it all that was changed would be lost.
	Moved bool
}

// seconds is what a modification time becomes in the layer. Times before 1970 are not kept when layers are unpacked.
func (o *Options) seconds(t int64) int64 {
	if o.Epoch != nil {
		return o.Epoch.Unix()
	}
	if o.Clamp != nil {
		t = min(t, o.Clamp.Unix())
	}
	return max(t, 0)
}

// Result describes the stored layer. Empty says that nothing was changed; there is no ID then unless empty layers
// are allowed.
type Result struct {
	ID     string
	DiffID digest.Digest
	Size   int64 // of the tar, in bytes
	Empty  bool
}

// Commit stores the changes that the writable layer rw has over parent ("" for none). An equal layer
// over the same parent that is stored already is taken instead, and gets the names.
func Commit(ctx context.Context, st storage.Store, rw, parent string, o Options) (Result, error) {
	l, err := st.Layer(rw)
	if err != nil {
		return Result{}, fmt.Errorf("reading layer %s: %w", rw, err)
	}
	t, err := newTask(ctx, st, l, parent, o)
	if err != nil {
		return Result{}, err
	}
	if res, moved, err := t.spent(); moved || err != nil {
		if err != nil {
			return Result{}, err
		}
		return t.resume(res)
	}
	if t.staged && l.Parent == parent {
		res, err := t.commitUpper()
		if !errors.Is(err, errNotPlain) {
			return res, err
		}
	}
	return t.commitChanged()
}

// Squash stores the whole file system of rw, which stays as it is, as one layer without a parent.
func Squash(ctx context.Context, st storage.Store, rw string, o Options) (Result, error) {
	l, err := st.Layer(rw)
	if err != nil {
		return Result{}, fmt.Errorf("reading layer %s: %w", rw, err)
	}
	o.Move = false
	t, err := newTask(ctx, st, l, "", o)
	if err != nil {
		return Result{}, err
	}
	if res, moved, err := t.spent(); moved || err != nil {
		return Result{}, errors.Join(err, t.errSpent(res))
	}
	return t.squash()
}

// Write writes the layer that Commit would store, or Squash with squash, to out, and stores nothing; with out nil it only counts and digests.
// The error is ErrMoved if that layer is in storage already, as a killed commit left it.
func Write(ctx context.Context, st storage.Store, rw, parent string, squash bool, out io.Writer, o Options) (res Result, err error) {
	l, err := st.Layer(rw)
	if err != nil {
		return Result{}, fmt.Errorf("reading layer %s: %w", rw, err)
	}
	o.Move = false
	t, err := newTask(ctx, st, l, parent, o)
	if err != nil {
		return Result{}, err
	}
	if _, moved, err := t.spent(); moved || err != nil {
		return Result{}, errors.Join(err, ErrMoved)
	}
	write := func(dir string, w *walker) (err error) {
		res, err = t.write(dir, w, out)
		return err
	}
	switch {
	case squash:
		err = t.wholeTree(write)
	case t.staged && l.Parent == parent:
		err = write(t.upper, t.walker(upper, t.lower))
	default:
		err = t.mount(changed, t.parent, write)
	}
	return res, err
}

// ErrMoved says that a container's changes are a layer in storage already: the commit that moved them was killed.
var ErrMoved = errors.New("a commit that was killed has moved the changes")

// ID is the storage transport's name for a layer: a later pull of the same image finds it by that
// (decisions.md §1.11).
func ID(parent string, diffID digest.Digest) string {
	if parent == "" {
		return diffID.Encoded()
	}
	sum := sha256.Sum256([]byte(parent + "+" + diffID.Encoded()))
	return hex.EncodeToString(sum[:])
}

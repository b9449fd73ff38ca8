package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/unshare"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A Fresh layer comes to be in one of storage's staging directories, which is mounted as overlay's upper directory meanwhile: storage has
// nothing to write down before the layer is done, and nothing is moved or copied then. But storage does not know of it either, and would let others
// remove what is below. It is for one goroutine at a time.
type Fresh struct {
	t       *task
	staged  *drivers.DriverWithDifferOutput
	mounts  int // that are wanted
	applied bool
}

// ErrNotFresh says that a layer has to be made by storage's own means: the driver is another, or told how to mount.
var ErrNotFresh = errors.New("storage does not take a directory that was mounted by another")

// mergedName is where it is mounted, beside the directory.
const mergedName = "merged"

// maxLowers is how many layers below fit into the page that mount(2) takes, with a label.
const maxLowers = 200

// NewFresh begins a layer over parent ("" for none). The caller discards it in the end, also when it was committed. stage is as in [Options].
func NewFresh(st storage.Store, parent string, own rootfs.Ownership, stage func(Staging) error) (*Fresh, error) {
	d, err := st.GraphDriver()
	if err != nil {
		return nil, err
	}
	if !native(d) || len(st.GraphOptions()) > 0 || len(st.UIDMap())+len(st.GIDMap()) > 0 {
		return nil, ErrNotFresh
	}
	t := &task{st: st, rw: &storage.Layer{Parent: parent}, parent: parent, staged: true, o: Options{Ownership: own}}
	if t.lower, err = below(d, parent); err != nil {
		return nil, err
	}
	if len(t.lower) > maxLowers || composed(t.lower) {
		return nil, ErrNotFresh
	}
	f := &Fresh{t: t}
	f.staged, err = st.PrepareStagedLayer(nil, vacant{stage})
	if err == nil {
		err = f.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, f.Discard())
	}
	return f, nil
}

// vacant leaves the directory that storage gives empty.
type vacant struct{ stage func(Staging) error }

// Close is there for the library's interface.
func (vacant) Close() error { return nil }

// ApplyDiff is called by the storage driver with an empty directory of its own.
func (v vacant) ApplyDiff(dest string, _ *archive.TarOptions, o *drivers.DifferOptions) (out drivers.DriverWithDifferOutput, err error) {
	if o != nil && o.Format != drivers.DifferOutputFormatDir {
		return out, ErrNotFresh
	}
	return out, noteStaging(v.stage, dest, Staging{})
}

// prepare makes what is mounted with and on.
func (f *Fresh) prepare() error {
	f.t.upper = f.staged.Target
	if f.t.parent != "" {
		if err := inheritRoot(f.t.st, f.t.o.Ownership, f.staged, f.t.parent); err != nil {
			return err
		}
	}
	for _, name := range []string{"work", mergedName, "none"} {
		if err := os.Mkdir(f.beside(name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fresh) beside(name string) string { return filepath.Join(filepath.Dir(f.staged.Target), name) }

// Mount mounts the file system, with a label if that is not empty, and returns the place. Each Mount has its Unmount.
func (f *Fresh) Mount(mountLabel string) (string, error) {
	merged := f.beside(mergedName)
	if f.mounts > 0 {
		f.mounts++
		return merged, nil
	}
	var dirs Numbered
	defer func() { dirs.Close() }()
	var names []string
	for _, dir := range slices.Concat([]string{f.t.upper, f.beside("work")}, f.lowers()) {
		name, err := dirs.Open(dir)
		if err != nil {
			return "", err
		}
		names = append(names, name)
	}
	data := "lowerdir=" + strings.Join(names[2:], ":") + ",upperdir=" + names[0] + ",workdir=" + names[1]
	if unshare.IsRootless() {
		data += ",userxattr" // as storage has it
	}
	if err := unix.Mount("overlay", merged, "overlay", 0, label.FormatMountLabel(data, mountLabel)); err != nil {
		return "", fmt.Errorf("mounting overlay: %w", err)
	}
	f.mounts++
	return merged, nil
}

// lowers are the directories to mount over: overlay wants one.
func (f *Fresh) lowers() []string {
	if len(f.t.lower) == 0 {
		return []string{f.beside("none")}
	}
	return f.t.lower
}

// Unmount undoes a Mount.
func (f *Fresh) Unmount() error {
	f.mounts--
	if f.mounts > 0 {
		return nil
	}
	if err := unix.Unmount(f.beside(mergedName), unix.MNT_DETACH); err != nil {
		return &os.PathError{Op: "unmount", Path: f.beside(mergedName), Err: err}
	}
	return nil
}

// Commit is [Commit] of what is there. It may be tried once.
func (f *Fresh) Commit(ctx context.Context, o Options) (Result, error) {
	t := f.t
	t.ctx, t.o = ctx, o
	d := &differ{t: t, dir: t.upper, walk: t.walker(upper, t.lower)}
	d.walk.disk = &spentDisk{o: o}
	src, err := openDir(t.upper)
	if err != nil {
		return Result{}, err
	}
	defer src.Close()
	out, err := d.record(src, src, filepath.Dir(t.upper))
	if errors.Is(err, errNotPlain) {
		return f.commitChanged()
	}
	if err != nil {
		return Result{}, err
	}
	out.Target = t.upper
	*f.staged = out
	res := Result{DiffID: out.UncompressedDigest, Size: out.Size, Empty: d.walk.w.entries == 0}
	if res.Empty && !o.AllowEmpty {
		return res, nil
	}
	res.ID = ID(t.parent, res.DiffID)
	return res, t.place(res.ID, func(names []string) error {
		err := t.apply(res.ID, names, f.staged)
		f.applied = err == nil
		return err
	})
}

// commitChanged is that of a task, over this mount.
func (f *Fresh) commitChanged() (res Result, err error) {
	dir, err := f.Mount("")
	if err != nil {
		return res, err
	}
	err = f.t.over(changed, f.t.parent, dir, func(dir string, w *walker) error {
		res, err = f.t.spool(dir, w)
		return err
	})
	return res, errors.Join(err, f.Unmount())
}

// Discard unmounts and removes what is there. It may be called more than once.
func (f *Fresh) Discard() error {
	if f.staged == nil || f.staged.Target == "" {
		return nil
	}
	if f.mounts > 0 {
		f.mounts = 1
		if err := f.Unmount(); err != nil {
			return err
		}
	}
	err := rootfs.RemoveTree(filepath.Dir(f.staged.Target)) // goes as deep as the files of a container do
	if !f.applied {
		err = errors.Join(err, f.t.st.CleanupStagedLayer(f.staged))
	}
	f.staged.Target = ""
	return err
}

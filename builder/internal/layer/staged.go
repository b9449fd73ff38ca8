package layer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// commitUpper makes overlay's upper directory a layer without unpacking a tar: storage takes a directory
// and what is known of it, and only renames the directory under its lock.
func (t *task) commitUpper() (Result, error) {
	return t.stage(&differ{t: t, dir: t.upper, walk: t.walker(upper, t.lower)})
}

// stage has storage make a staging directory and call d to fill it, and stores the result.
func (t *task) stage(d *differ) (res Result, err error) {
	staged, err := t.st.PrepareStagedLayer(nil, d)
	kept := false
	defer func() {
		if !kept && staged != nil && staged.Target != "" {
			err = errors.Join(err, t.st.CleanupStagedLayer(staged))
		}
	}()
	if err != nil {
		return Result{}, err
	}
	res = Result{DiffID: staged.UncompressedDigest, Size: staged.Size, Empty: d.walk.w.entries == 0}
	if res.Empty && !t.o.AllowEmpty {
		return Result{Empty: true}, nil
	}
	res.ID = ID(t.parent, res.DiffID)
	err = t.place(res.ID, func(names []string) error {
		if err := t.spend(res, staged.Target); err != nil {
			return err
		}
		kept = true
		if err := t.apply(res.ID, names, staged); err != nil {
			return errors.Join(err, t.unspend(staged.Target), t.st.CleanupStagedLayer(staged))
		}
		return nil
	})
	return res, err
}

func (t *task) apply(id string, names []string, staged *drivers.DriverWithDifferOutput) error {
	err := t.keepRecords(id, staged)
	if err != nil {
		return err
	}
	_, err = t.st.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: id, ParentLayer: t.parent, Names: names, DiffOutput: staged,
		DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return fmt.Errorf("storing layer: %w", err)
	}
	_ = os.Remove(filepath.Dir(staged.Target)) // empty now; storage would only do it at the end of a process
	return nil
}

// A differ fills a staging directory with the changes and describes them. It is what the library calls
// a source of a layer.
type differ struct {
	t    *task
	dir  string
	walk *walker
}

// Close is there for the library's interface.
func (d *differ) Close() error { return nil }

// ApplyDiff is called by the storage driver with an empty directory of its own. A spent directory is only read here,
// and moved when all is known to be well.
func (d *differ) ApplyDiff(dest string, _ *archive.TarOptions, o *drivers.DifferOptions) (out drivers.DriverWithDifferOutput, err error) {
	if o != nil && o.Format != drivers.DifferOutputFormatDir {
		return out, errNotPlain
	}
	if err := d.noteStaging(dest); err != nil {
		return out, err
	}
	src, err := openDir(d.dir)
	if err != nil {
		return out, err
	}
	defer src.Close()
	to, err := openDir(dest)
	if err != nil {
		return out, err
	}
	defer to.Close()
	if err := d.chooseDisk(src, to); err != nil {
		return out, err
	}
	made := to
	if d.t.o.Move {
		made = src
	}
	return d.record(src, made, filepath.Dir(dest))
}

func (d *differ) noteStaging(dest string) error {
	s := Staging{Moved: d.t.o.Move}
	if s.Moved {
		s.Note = d.t.notePath()
	}
	return noteStaging(d.t.o.Stage, dest, s)
}

// record reads the changes in src and tells storage of the directory they are made into. temp is for a temporary file.
func (d *differ) record(src, made *os.File, temp string) (out drivers.DriverWithDifferOutput, err error) {
	meta, err := newRecorder(temp)
	if err != nil {
		return out, err
	}
	d.walk.w = newWriter(nil, meta)
	err = d.walk.run(src)
	diffID, cerr := d.walk.w.close()
	if err = errors.Join(err, cerr, meta.end()); err != nil {
		return out, errors.Join(err, meta.file.Close())
	}
	return d.describe(made, diffID, meta.file)
}

// chooseDisk says how the staging directory gets its content. One on another file system is filled by copying.
func (d *differ) chooseDisk(src, dest *os.File) error {
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(src.Fd()), &a), unix.Fstat(int(dest.Fd()), &b)); err != nil {
		return err
	}
	d.t.o.Move = d.t.o.Move && a.Dev == b.Dev
	if d.t.o.Move {
		d.walk.disk = &spentDisk{o: d.t.o}
	} else {
		d.walk.disk = newCopyDisk(int(dest.Fd()), d.t.o)
	}
	return nil
}

// describe tells storage all it records of a layer. The root's permissions are given so that the driver leaves them
// alone. There is no compressed digest, as there was no compressed form; with one the image
// library would look for its size.
func (d *differ) describe(made *os.File, diffID digest.Digest, meta *os.File) (drivers.DriverWithDifferOutput, error) {
	info, err := made.Stat()
	if err != nil {
		return drivers.DriverWithDifferOutput{}, errors.Join(err, meta.Close())
	}
	mode := info.Mode()
	w := d.walk.w
	return drivers.DriverWithDifferOutput{
		Differ: d, Size: w.s.size, UIDs: w.uids.list(), GIDs: w.gids.list(),
		UncompressedDigest: diffID, TarSplit: meta, RootDirMode: &mode,
	}, nil
}

// openDir opens the root of a tree; the name is for what [os.File.ReadDir] looks up by name.
func openDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("opening layer directory: %w", err)
	}
	return f, nil
}

// unlinked makes a temporary file that dies with the process.
func unlinked(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "slipway-layer-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

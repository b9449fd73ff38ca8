package layer

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/copier/untar"
)

// commitOverlay makes the upper directory of rw a layer without unpacking a tar: the library's staged
// layers take a directory and what is known of it, and the move happens under its lock.
func commitOverlay(ctx context.Context, st storage.Store, rw, parent string, o Options) (Result, error) {
	dir, err := st.DifferTarget(rw)
	if err != nil {
		return Result{}, fmt.Errorf("finding the changes: %w", err)
	}
	upper, err := rootfs.Open(dir, o.Ownership)
	if err != nil {
		return Result{}, err
	}
	defer upper.Close()
	below, closeBelow, err := lowerRoots(st, parent, o)
	if err != nil {
		return Result{}, err
	}
	defer closeBelow()
	d := &differ{ctx: ctx, upper: upper, walk: overlaid(upper, below), o: o}
	staged, err := st.PrepareStagedLayer(nil, d)
	if err != nil {
		if staged != nil && staged.Target != "" {
			err = errors.Join(err, st.CleanupStagedLayer(staged))
		}
		return Result{}, err
	}
	res := Result{DiffID: staged.UncompressedDigest, Size: staged.Size}
	if d.entries == 0 && !o.AllowEmpty {
		return Result{Empty: true}, st.CleanupStagedLayer(staged)
	}
	res.ID = ID(parent, res.DiffID)
	if ok, err := existing(st, res.ID, o); ok || err != nil {
		return res, errors.Join(err, st.CleanupStagedLayer(staged))
	}
	return res, apply(st, res.ID, parent, staged, o)
}

func apply(st storage.Store, id, parent string, staged *drivers.DriverWithDifferOutput, o Options) error {
	_, err := st.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: id, ParentLayer: parent, DiffOutput: staged,
		DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
	})
	if err != nil && !errors.Is(err, storage.ErrDuplicateID) { // someone else may have stored the same layer meanwhile
		return fmt.Errorf("storing layer: %w", errors.Join(err, st.CleanupStagedLayer(staged)))
	}
	return addNames(st, id, o.Names)
}

// lowerRoots opens the directories of the layers below, uppermost first.
func lowerRoots(st storage.Store, id string, o Options) (roots []*rootfs.Root, done func(), err error) {
	done = func() {
		for _, r := range roots {
			r.Close()
		}
	}
	for id != "" {
		rec, err := st.Layer(id)
		if err != nil {
			done()
			return nil, nil, err
		}
		dir, err := st.DifferTarget(id)
		if err == nil {
			var r *rootfs.Root
			if r, err = rootfs.Open(dir, o.Ownership); err == nil {
				roots = append(roots, r)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			done()
			return nil, nil, err
		}
		id = rec.Parent
	}
	return roots, done, nil
}

// differ fills a staging directory with the changes and describes them.
type differ struct {
	ctx     context.Context //nolint:containedctx // the library's interface has none
	upper   *rootfs.Root
	walk    walker
	o       Options
	entries int
}

// Close is there for the library's interface.
func (d *differ) Close() error { return nil }

// ApplyDiff is called by the storage driver with an empty directory of its own.
func (d *differ) ApplyDiff(dest string, _ *archive.TarOptions, _ *drivers.DifferOptions) (out drivers.DriverWithDifferOutput, err error) {
	root, err := rootfs.Open(dest, d.o.Ownership)
	if err != nil {
		return out, err
	}
	defer root.Close()
	meta, err := os.CreateTemp(d.o.TempDir, "slipway-split-")
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil {
			meta.Close()
		}
	}()
	if err := os.Remove(meta.Name()); err != nil {
		return out, err
	}
	w, diffID, size, err := d.describe(meta, root)
	if err != nil {
		return out, err
	}
	d.entries = w.entries
	if err := d.fill(root, w.dropped); err != nil {
		return out, err
	}
	info, err := d.upper.Stat("/")
	if err != nil {
		return out, err
	}
	mode := os.FileMode(info.Perm() & 0o777)
	if err := os.Chmod(dest, mode); err != nil { //nolint:forbidigo // the library's own directory
		return out, err
	}
	return drivers.DriverWithDifferOutput{
		Differ: d, Size: size, UIDs: w.uids.list(), GIDs: w.gids.list(),
		UncompressedDigest: diffID, CompressedDigest: diffID, TarSplit: meta, RootDirMode: &mode,
	}, nil
}

// describe reads the changes once: the tar they are goes through the digest and the tar-split packer,
// and into the staging directory when the originals have to stay where they are.
func (d *differ) describe(meta *os.File, dest *rootfs.Root) (*writer, digest.Digest, int64, error) {
	pr, pw := io.Pipe()
	w := newWriter(d.ctx, pw, d.o)
	go func() { pw.CloseWithError(w.run(d.walk)) }()
	defer pr.Close()
	packed := bufio.NewWriterSize(meta, 64<<10)
	split, err := asm.NewInputTarStream(pr, tarsplit.NewJSONPacker(packed), tarsplit.NewDiscardFilePutter())
	if err != nil {
		return nil, "", 0, err
	}
	h := sha256.New()
	var size int64
	if d.o.Move {
		size, err = io.CopyBuffer(h, struct{ io.Reader }{split}, make([]byte, 256<<10))
	} else {
		counted := &counter{r: io.TeeReader(split, h)}
		_, err = untar.Untar(counted, dest, untar.Options{Whiteouts: untar.Overlay, UserXattr: userXattr(d.upper)})
		if err == nil {
			_, err = io.Copy(io.Discard, counted) // the padding at the end
		}
		size = counted.n
	}
	if err != nil {
		return nil, "", 0, err
	}
	return w, digest.NewDigest(digest.SHA256, h), size, packed.Flush()
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// fill moves the files themselves when the container does not need them any more.
func (d *differ) fill(root *rootfs.Root, dropped []string) error {
	if !d.o.Move {
		return nil
	}
	for _, rel := range dropped { // the layer's directory holds what its tar says, no more
		parent, err := d.upper.Dir(path.Dir("/" + rel))
		if err != nil {
			return err
		}
		err = parent.Rmdir(path.Base(rel))
		parent.Close()
		if err != nil {
			return err
		}
	}
	if err := d.setTimes(); err != nil {
		return err
	}
	from, err := d.upper.Dir("/")
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := root.Dir("/")
	if err != nil {
		return err
	}
	defer to.Close()
	names, err := from.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := to.Rename(from, n, n); err != nil {
			return err
		}
	}
	return nil
}

// setTimes gives files on disk the times that their entries in the tar have.
func (d *differ) setTimes() error {
	if d.o.Epoch == nil && d.o.Clamp == nil {
		return nil
	}
	root, err := d.upper.Dir("/")
	if err != nil {
		return err
	}
	defer root.Close()
	return setTimes(root, d.o)
}

func setTimes(d *rootfs.Dir, o Options) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		i, err := d.Lstat(n)
		if err != nil {
			return err
		}
		if i.IsDir() {
			sub, err := d.Dir(n)
			if err != nil {
				return err
			}
			err = setTimes(sub, o)
			sub.Close()
			if err != nil {
				return err
			}
		}
		if t := o.time(i.Mtime); !t.Equal(i.Mtime.Truncate(timeUnit)) {
			if err := d.Utimes(n, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// userXattr tells which attribute the driver marks opaque directories with: in a user namespace only user.* can be set.
func userXattr(*rootfs.Root) bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && string(bytesFields(text)) != "0 0 4294967295"
}

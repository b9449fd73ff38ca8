package layer

import (
	"context"
	"errors"
	"io"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Tree stores what is in dir as a layer over parent ("" for none). All of it is in the layer, whatever the parent has, so
// that the same content is the same diff over every parent; of the directory itself nothing is said, unless there is no
// parent. It stays as it is.
func Tree(ctx context.Context, st storage.Store, dir, parent string, o Options) (Result, error) {
	o.Move, o.IDs = false, nil // a tree has its owners as they are meant
	t := &task{ctx: ctx, st: st, rw: &storage.Layer{}, parent: parent, o: o}
	d, err := st.GraphDriver()
	if err != nil {
		return Result{}, err
	}
	if t.staged = native(d); t.staged {
		if t.lower, err = below(d, parent); err != nil {
			return Result{}, err
		}
		t.staged = !composed(t.lower)
	}
	if !t.staged {
		return t.spool(dir, t.adder())
	}
	return t.stage(&differ{t: t, dir: dir, walk: t.adder()})
}

// Tar writes what is in dir, and dir's own mode and owner, as a tar stream, and returns its digest and size; with out nil it only
// counts and digests. Nothing is stored.
func Tar(ctx context.Context, dir string, out io.Writer, own rootfs.Ownership) (digest.Digest, int64, error) {
	src, err := openDir(dir)
	if err != nil {
		return "", 0, err
	}
	defer src.Close()
	t := &task{ctx: ctx, rw: &storage.Layer{}, o: Options{Ownership: own}}
	w := t.adder()
	w.disk, w.w = untouchedDisk{}, newWriter(out, nil)
	err = w.run(src)
	sum, cerr := w.w.close()
	return sum, w.w.s.size, errors.Join(err, cerr)
}

// adder walks a tree that is added. A directory that is empty may be a place to mount on elsewhere; here somebody asked for it.
func (t *task) adder() *walker {
	m := added
	if t.parent == "" {
		m = whole
	}
	w := t.walker(m, t.lower)
	w.stubs = stubs{}
	return w
}

// Restack stores the diff of the layer id once more, over another parent.
func Restack(ctx context.Context, st storage.Store, id, parent string, o Options) (Result, error) {
	d, err := st.GraphDriver()
	if err != nil {
		return Result{}, err
	}
	if native(d) && parent != "" {
		upper, _, err := directories(d, id)
		if err != nil {
			return Result{}, err
		}
		return Tree(ctx, st, upper, parent, o)
	}
	l, err := st.Layer(id)
	if err != nil {
		return Result{}, err
	}
	f, err := spooled(st, id, o.TempDir)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	t := &task{ctx: ctx, st: st, rw: &storage.Layer{}, parent: parent, o: o}
	res := Result{ID: ID(parent, l.UncompressedDigest), DiffID: l.UncompressedDigest, Size: l.UncompressedSize}
	return res, t.place(res.ID, func(names []string) error { return t.put(res, names, f) })
}

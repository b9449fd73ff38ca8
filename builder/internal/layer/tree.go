package layer

import (
	"context"

	"github.com/containers/storage"
)

// Tree stores what is in dir as a layer over parent ("" for none). All of it is in the layer, whatever the parent has, so
// that the same content is the same diff over every parent; of the directory itself nothing is said, unless there is no
// parent. It stays as it is.
func Tree(ctx context.Context, st storage.Store, dir, parent string, o Options) (Result, error) {
	o.Move = false
	t := &task{ctx: ctx, st: st, rw: &storage.Layer{}, parent: parent, o: o}
	d, err := st.GraphDriver()
	if err != nil {
		return Result{}, err
	}
	if t.staged = native(d); t.staged && parent != "" {
		upper, lower, err := directories(d, parent)
		if err != nil {
			return Result{}, err
		}
		t.lower = append([]string{upper}, lower...)
		t.staged = !composed(t.lower)
	}
	if !t.staged {
		return t.spool(dir, t.adder())
	}
	return t.stage(&differ{t: t, dir: dir, walk: t.adder()})
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

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
	"github.com/containers/storage/pkg/idtools"

	"github.com/slipway-build/slipway/internal/idmap"
)

// A task is one layer on its way into storage.
type task struct {
	ctx    context.Context //nolint:containedctx // lives as long as one commit
	st     storage.Store
	rw     *storage.Layer
	parent string // of the new layer
	o      Options
	staged bool     // the driver takes directories, and rw's upper directory is the difference
	upper  string   // that directory
	lower  []string // those below it, uppermost first
}

func newTask(ctx context.Context, st storage.Store, rw *storage.Layer, parent string, o Options) (*task, error) {
	t := &task{ctx: ctx, st: st, rw: rw, parent: parent, o: o}
	if t.o.IDs != nil {
		t.o.Move = false // what is on disk has other owners than the layer's: a move could not be taken up again when half are changed
	}
	if t.o.Move {
		n, err := st.Mounted(rw.ID)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", rw.ID, err)
		}
		t.o.Move = n == 0
	}
	return t, t.locate()
}

// locate finds overlay's directories, if they are as simple as they have to be: no redirects or
// metadata-only copies, no compositions, no shifted owners.
func (t *task) locate() error {
	d, err := t.st.GraphDriver()
	if err != nil || !native(d) || t.mapped() {
		return err
	}
	t.upper, t.lower, err = directories(d, t.rw.ID)
	t.staged = err == nil && !composed(t.lower)
	return err
}

// native tells whether the driver's layers are plain directories that show the difference.
func native(d drivers.Driver) bool {
	return d.String() == "overlay" && slices.Contains(d.Status(), [2]string{"Native Overlay Diff", "true"})
}

// directories are overlay's of a layer: its own and those below it, uppermost first.
func directories(d drivers.Driver, id string) (upper string, lower []string, err error) {
	dirs, err := d.Metadata(id)
	if err != nil {
		return "", nil, fmt.Errorf("finding the directories of layer %s: %w", id, err)
	}
	if low := dirs["LowerDir"]; low != "" {
		lower = strings.Split(low, ":")
	}
	return dirs["UpperDir"], lower, nil
}

// below are the directories of what lies below a layer over parent, uppermost first.
func below(d drivers.Driver, parent string) ([]string, error) {
	if parent == "" {
		return nil, nil
	}
	upper, lower, err := directories(d, parent)
	return append([]string{upper}, lower...), err
}

func composed(dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool {
		_, err := os.Lstat(filepath.Join(filepath.Dir(dir), "composefs-data"))
		return err == nil
	})
}

// mapped tells whether the layer itself was made with id maps: it is storage's copy, not a difference.
func (t *task) mapped() bool { return len(t.rw.UIDMap) > 0 || len(t.rw.GIDMap) > 0 }

// walker returns one that reads a directory as m says, over the given directories.
func (t *task) walker(m mode, below []string) *walker {
	r := t.reader(t.rw)
	if !t.mapped() && t.o.IDs != nil {
		r = newReader(t.o.Ownership, inUserNS(), t.o.IDs)
	}
	return &walker{
		ctx: t.ctx, mode: m, r: r, below: &base{dirs: below, r: t.reader(t.rw)}, o: t.o,
		stubs: newStubs(t.o.Excludes), links: map[inode]string{},
	}
}

// reader reads nodes of a layer: each layer may keep the container's owners under numbers of its own.
func (t *task) reader(l *storage.Layer) *reader {
	if len(l.UIDMap) == 0 && len(l.GIDMap) == 0 {
		return newReader(t.o.Ownership, inUserNS(), nil)
	}
	return newReader(t.o.Ownership, inUserNS(), &idmap.IDs{UIDs: ranges(l.UIDMap), GIDs: ranges(l.GIDMap)})
}

func ranges(list []idtools.IDMap) (m idmap.Map) {
	for _, r := range list {
		m = append(m, idmap.Range{Container: uint32(r.ContainerID), Host: uint32(r.HostID), Size: uint32(r.Size)})
	}
	return m
}

// mount calls f with the mount point of rw and a walker over the layer below ("" for none), both whole trees.
func (t *task) mount(m mode, below string, f func(dir string, w *walker) error) error {
	return t.mounted(t.shown(), func(dir string) error { return t.over(m, below, dir, f) })
}

// over is mount for a tree that is mounted at dir.
func (t *task) over(m mode, below, dir string, f func(dir string, w *walker) error) error {
	if below == "" {
		return f(dir, t.walker(m, nil))
	}
	l, err := t.st.Layer(below)
	if err != nil {
		return fmt.Errorf("reading layer %s: %w", below, err)
	}
	return t.mounted(below, func(low string) error {
		w := t.walker(m, []string{low})
		w.below.r = t.reader(l)
		w.copied = !slices.Equal(l.UIDMap, t.rw.UIDMap) || !slices.Equal(l.GIDMap, t.rw.GIDMap)
		return f(dir, w)
	})
}

// shown is what storage mounts to show the container: the maps of its owners are the container's, not the layer's.
func (t *task) shown() string {
	if t.o.Container != "" {
		return t.o.Container
	}
	return t.rw.ID
}

func (t *task) mounted(id string, f func(dir string) error) error {
	dir, err := t.st.Mount(id, "")
	if err != nil {
		return fmt.Errorf("mounting layer %s: %w", id, err)
	}
	err = f(dir)
	_, uerr := t.st.Unmount(id, false)
	return errors.Join(err, uerr)
}

// inUserNS tells whether this process is in a user namespace: overlay's attributes have other names there.
func inUserNS() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
}

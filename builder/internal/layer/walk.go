package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A mode says what the directory is that a walker reads.
type mode int

const (
	upper   mode = iota // overlay's upper directory: what is in it is the difference
	changed             // a whole tree, of which the difference from the base is wanted
	whole               // a whole tree, all of which is wanted
	added               // a tree to be laid over the base: all that is in it, and nothing of the root itself
)

// A walker writes a layer's tar from a directory: parents before what is in them, in a directory
// what is gone before what is there, and each of them in byte order. Directories are written once something
// in them is, or when they differ from the base themselves, so those that were only copied up are left out.
type walker struct {
	ctx   context.Context //nolint:containedctx // lives as long as one commit
	mode  mode
	r     *reader
	below *base
	w     *writer
	disk  disk
	o     Options
	stubs stubs
	links map[inode]string // first names of files with several
	last  node             // the regular file that is being written: there may be many
	// copied says that storage has written the tree anew with other owners than the base's: times of directories are not the container's doing.
	copied bool
}

type inode struct{ dev, ino uint64 }

// errVanished says that a file went since it was listed: that is no error, containers go on living.
var errVanished = errors.New("file vanished")

// A dir is a directory on the way from the root to where the walker is.
type dir struct {
	up      *dir
	f       *os.File
	n       *node
	name    string // in up
	old     *node  // what the base has there, once asked
	asked   bool
	written bool
	hidden  bool // what the base has in it, and below, does not show
	moved   bool // it, or one above it, may be another than the base's by that name (changed)
	out     int  // the same directory in the staging directory, if there is one
}

func (d *dir) fd() int                  { return int(d.f.Fd()) }
func (d *dir) child(name string) string { return path.Join(d.n.path, name) }

// run writes the tree whose root is open as f.
func (w *walker) run(f *os.File) error {
	root := &dir{f: f, n: &node{path: "."}}
	if err := w.r.file(root.fd(), root.n); err != nil {
		return err
	}
	if err := w.rootOfBase(root); err != nil {
		return err
	}
	changed, err := w.rootChanged(root)
	if err != nil {
		return err
	}
	if changed {
		if err := w.w.header(w.header(root.n)); err != nil {
			return err
		}
		w.w.owners(root.n.uid, root.n.gid)
	}
	root.written = true
	if err := w.list(root); err != nil {
		return err
	}
	return w.disk.leave(root)
}

// rootOfBase makes an added tree's root look like the one it is laid over, since the directory of the uppermost layer
// is the one that overlay shows.
func (w *walker) rootOfBase(root *dir) error {
	if w.mode != added || len(w.below.dirs) == 0 {
		return nil
	}
	old, err := w.old(root)
	if err == nil && old != nil {
		root.n = old
	}
	return err
}

// rootChanged tells whether the root directory itself is part of the layer: storage makes it with the
// owner and the permissions of the base's.
func (w *walker) rootChanged(root *dir) (bool, error) {
	if w.mode == added {
		return false, nil
	}
	plain := &node{mode: unix.S_IFDIR | 0o555}
	if w.mode != whole && len(w.below.dirs) > 0 {
		var err error
		if plain, err = w.old(root); err != nil {
			return false, err
		}
	}
	n := root.n
	return n.mode != plain.mode || n.uid != plain.uid || n.gid != plain.gid, nil
}

// list writes what is in a directory.
func (w *walker) list(d *dir) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := d.f.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("reading directory %s: %w", d.n.path, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	if entries, err = w.gone(d, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.entry(d, e.Name(), e.Type()); err != nil && !errors.Is(err, errVanished) {
			return err
		}
	}
	return nil
}

// gone writes the whiteouts of a directory and returns the other entries.
func (w *walker) gone(d *dir, entries []fs.DirEntry) ([]fs.DirEntry, error) {
	var names []string
	switch w.mode {
	case upper:
		kept := entries[:0]
		for _, e := range entries {
			is, err := isWhiteout(d, e)
			if err != nil {
				return nil, err
			}
			if is {
				names = append(names, e.Name())
			} else {
				kept = append(kept, e)
			}
		}
		entries = kept
	case changed:
		old, err := w.old(d)
		if err != nil {
			return nil, err
		}
		if old != nil && old.isDir() && !d.hidden {
			if names, err = w.missing(d, entries); err != nil {
				return nil, err
			}
		}
	case whole, added:
	}
	for _, name := range names {
		if err := w.write(d); err != nil {
			return nil, err
		}
		if err := w.w.whiteout(d.n.path, name, w.o.seconds(0)); err != nil {
			return nil, err
		}
		if err := w.disk.whiteout(d, name); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func isWhiteout(d *dir, e fs.DirEntry) (bool, error) {
	if e.Type()&fs.ModeCharDevice == 0 {
		return false, nil
	}
	n := node{}
	err := unix.Fstatat(d.fd(), e.Name(), &n.st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return false, pathError("stat", d.child(e.Name()), err)
	}
	return n.whiteout(), nil
}

// missing returns the names that only the base has.
func (w *walker) missing(d *dir, entries []fs.DirEntry) ([]string, error) {
	names, err := w.below.names(d.n.path)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, found := slices.BinarySearchFunc(entries, name, func(e fs.DirEntry, name string) int {
			return strings.Compare(e.Name(), name)
		})
		return found
	}), nil
}

// entry writes one entry, and what is below it.
func (w *walker) entry(d *dir, name string, kind fs.FileMode) error {
	if strings.HasPrefix(name, whiteoutPrefix) {
		return fmt.Errorf("%s: a layer cannot hold a file whose name begins with %s", d.child(name), whiteoutPrefix)
	}
	switch {
	case kind.IsDir():
		return w.directory(d, name)
	case kind.IsRegular():
		return w.file(d, name)
	case kind&fs.ModeSocket != 0:
		return w.disk.drop(d, name, false) // means nothing without its process
	}
	n := &node{path: d.child(name)}
	if err := w.r.special(d.fd(), name, n); err != nil {
		return vanished(err)
	}
	if w.mode == added && n.whiteout() {
		return fmt.Errorf("%s: a layer cannot hold the device 0:0, which overlay takes for a removed file", n.path)
	}
	if same, err := w.unchanged(d, n, -1); same || err != nil {
		return err
	}
	if err := w.write(d); err != nil {
		return err
	}
	if done, err := w.linked(d, name, n); done || err != nil {
		return err
	}
	if err := w.begin(n, w.header(n)); err != nil {
		return err
	}
	return w.disk.special(d, name, n)
}

func vanished(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	return err
}

func (w *walker) begin(n *node, h *header) error {
	w.w.owners(n.uid, n.gid)
	return w.w.header(h)
}

// file writes a regular file, or a device that is recorded in one.
func (w *walker) file(d *dir, name string) error {
	w.last = node{path: d.child(name)}
	n := &w.last
	src, err := openSource(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return vanished(pathError("open", n.path, err))
	}
	defer unix.Close(src)
	if err := w.r.file(src, n); err != nil {
		return err
	}
	if n.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s changed while the layer was being written", n.path)
	}
	if stub, err := w.stub(d, n); err != nil {
		return err
	} else if stub {
		return w.disk.drop(d, name, false)
	}
	if same, err := w.unchanged(d, n, src); same || err != nil {
		return err
	}
	if err := w.write(d); err != nil {
		return err
	}
	if done, err := w.linked(d, name, n); done || err != nil {
		return err
	}
	return w.content(d, name, n, src)
}

// content writes a file's header and content, and keeps the disk in step.
func (w *walker) content(d *dir, name string, n *node, src int) error {
	h := w.header(n)
	from, to, err := w.disk.begin(d, name, src, n)
	if err == nil {
		err = w.begin(n, h)
	}
	if err == nil && h.size > 0 {
		err = w.w.content(w.ctx, h, from, to, n.st.Blocks*512 < n.st.Size)
	}
	return errors.Join(err, w.disk.end(d, name, src, n))
}

// linked writes a further name of a file that is in the layer already.
func (w *walker) linked(d *dir, name string, n *node) (bool, error) {
	if n.st.Nlink < 2 {
		return false, nil
	}
	id := inode{n.st.Dev, n.st.Ino}
	first, ok := w.links[id]
	if !ok {
		w.links[id] = n.path
		return false, nil
	}
	h := w.header(n)
	h.kind, h.link, h.size, h.major, h.minor = typeLink, first, 0, 0, 0
	if err := w.begin(n, h); err != nil {
		return true, err
	}
	return true, w.disk.link(d, name, first)
}

// directory writes a directory and what is in it.
func (w *walker) directory(up *dir, name string) error {
	d := &dir{up: up, name: name, n: &node{path: up.child(name)}}
	if len(d.n.path) > rootfs.MaxPath {
		return pathError("open", d.n.path, unix.ENAMETOOLONG)
	}
	fd, err := openSource(up.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return vanished(pathError("open", d.n.path, err))
	}
	// The name is for ReadDir, which asks by name for types that the file system does not tell.
	d.f = os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer d.f.Close()
	if err := w.r.file(fd, d.n); err != nil {
		return err
	}
	d.n.opaq = d.n.opaq || w.replaced(fd, d.n)
	d.hidden = up.hidden || d.n.opaq
	d.moved = up.moved || w.since(d.n.st.Ctim) && w.since(up.n.st.Ctim) // to move a directory changes both
	if err := w.list(d); err != nil {
		return err
	}
	if !d.written {
		untouched, err := w.untouched(d)
		if err != nil {
			return err
		}
		if untouched {
			return w.disk.drop(up, name, true)
		}
		if err := w.write(d); err != nil {
			return err
		}
	}
	return w.disk.leave(d)
}

// write writes a directory, and those above it, unless that is done.
func (w *walker) write(d *dir) error {
	if d.written {
		return nil
	}
	if err := w.write(d.up); err != nil {
		return err
	}
	d.written = true
	if err := w.begin(d.n, w.header(d.n)); err != nil {
		return err
	}
	hides, err := w.hides(d)
	if err != nil {
		return err
	}
	if hides {
		if err := w.w.opaque(d.n.path, w.o.seconds(0)); err != nil {
			return err
		}
	}
	return w.disk.enter(d)
}

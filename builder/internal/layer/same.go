package layer

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// stubs are the places that a run made to mount on, and the directories above them.
type stubs struct{ at, above map[string]bool }

func newStubs(paths []string) stubs {
	s := stubs{map[string]bool{"dev": true, "proc": true, "sys": true}, map[string]bool{}}
	for _, p := range paths {
		p = strings.TrimPrefix(path.Clean("/"+p), "/")
		s.at[p] = true
		for p = path.Dir(p); p != "."; p = path.Dir(p) {
			s.above[p] = true
		}
	}
	return s
}

// stub tells whether n, which is in d, is such a place and nothing else: empty still, and unknown to the base.
func (w *walker) stub(d *dir, n *node) (bool, error) {
	if !w.stubs.at[n.path] || !n.isDir() && n.st.Size > 0 {
		return false, nil
	}
	old, err := w.lookup(d, n.path)
	return old == nil, err
}

// untouched tells whether a directory in which nothing changed can be left out: a stub, or equal to the base's.
// Its time is not the container's doing if something was mounted below it.
func (w *walker) untouched(d *dir) (bool, error) {
	if stub, err := w.stub(d.up, d.n); stub || err != nil {
		return stub, err
	}
	if w.mode == whole || w.mode == added {
		return false, nil
	}
	old, err := w.old(d)
	if err != nil || old == nil || !old.isDir() || d.n.opaq {
		return false, err
	}
	n := d.n
	return n.mode == old.mode && n.uid == old.uid && n.gid == old.gid && sameAttrs(n.attrs, old.attrs) &&
		(n.st.Mtim == old.st.Mtim || w.stubs.above[n.path] || w.copied), nil
}

// hides tells whether an opaque directory covers one of the base. The kernel makes every new directory opaque.
func (w *walker) hides(d *dir) (bool, error) {
	if !d.n.opaq || w.mode != upper && w.mode != changed {
		return false, nil
	}
	old, err := w.old(d)
	return old != nil && old.isDir(), err
}

// unchanged tells whether the base has the same file, for drivers whose layers are whole trees; src is open where it has content. A file that was
// written since the container was made is in the layer, like or not, as overlay has it in the upper directory. Size and time are not
// believed where another file may have come: many tools set the time of what they write (dpkg, tar, COPY). A file that has got a further
// name is not the same: without its first one the new name would be another file (dockerfile.md §19.19).
func (w *walker) unchanged(d *dir, n *node, src int) (bool, error) {
	if w.mode != changed {
		return false, nil
	}
	old, err := w.lookup(d, n.path)
	if old == nil || err != nil || !alike(n, old) || n.st.Nlink > old.st.Nlink {
		return false, err
	}
	since := w.since(n.st.Ctim)
	if since && n.st.Nlink == old.st.Nlink { // to lose a name changes the file as well
		return false, nil
	}
	if src < 0 || !since && !d.moved && !w.o.Since.IsZero() {
		return true, nil
	}
	return w.below.holds(w.ctx, n.path, src)
}

// alike tells whether two files are the same by what is known without reading them.
func alike(n, old *node) bool {
	return n.mode == old.mode && n.uid == old.uid && n.gid == old.gid && n.rdev == old.rdev && n.link == old.link &&
		n.st.Mtim == old.st.Mtim && (n.kind() != unix.S_IFREG || n.st.Size == old.st.Size) && sameAttrs(n.attrs, old.attrs)
}

// old returns what the base has in the place of a directory, or nil.
func (w *walker) old(d *dir) (n *node, err error) {
	if !d.asked {
		if d.old, err = w.lookup(d.up, d.n.path); err != nil {
			return nil, err
		}
		d.asked = true
	}
	return d.old, nil
}

// lookup returns what shows of the base at a path in d, nil for the root's own, or nil. Where a directory was replaced nothing does, though
// the base has it still.
func (w *walker) lookup(d *dir, path string) (*node, error) {
	if d != nil && d.hidden {
		return nil, nil
	}
	return w.below.lookup(path)
}

// header describes a node as the layer shows it.
func (w *walker) header(n *node) *header {
	h := &header{
		name: n.path, mode: n.mode & 0o7777, uid: n.uid, gid: n.gid, mtime: w.o.seconds(n.st.Mtim.Sec),
		xattrs: n.attrs,
	}
	switch n.kind() {
	case unix.S_IFDIR:
		h.kind = typeDir
	case unix.S_IFLNK:
		h.kind, h.link = typeSymlink, n.link
	case unix.S_IFIFO:
		h.kind = typeFifo
	case unix.S_IFCHR:
		h.kind, h.major, h.minor = typeChar, unix.Major(n.rdev), unix.Minor(n.rdev)
	case unix.S_IFBLK:
		h.kind, h.major, h.minor = typeBlock, unix.Major(n.rdev), unix.Minor(n.rdev)
	default:
		h.kind, h.size = typeFile, n.st.Size
	}
	return h
}

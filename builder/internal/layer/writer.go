package layer

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A writer writes a layer's tar, always the same way for the same files: numeric owners, whole seconds,
// sorted attributes, no names of users, no other times (containers.md §11.2).
type writer struct {
	ctx     context.Context //nolint:containedctx // lives as long as one commit
	out     *bufio.Writer
	tw      *tar.Writer
	o       Options
	entries int
	dropped []string // directories of the upper layer that are no change
	links   map[inode]string
	uids    ids
	gids    ids
	buf     []byte
}

type inode struct{ dev, ino uint64 }

type ids map[uint32]struct{}

func (s ids) list() []uint32 { return slices.Sorted(maps.Keys(s)) }

func newWriter(ctx context.Context, w io.Writer, o Options) *writer {
	out := bufio.NewWriterSize(w, 256<<10)
	return &writer{ctx: ctx, out: out, tw: tar.NewWriter(out), o: o, links: map[inode]string{},
		uids: ids{}, gids: ids{}, buf: make([]byte, 256<<10)}
}

func (w *writer) run(walk walker) error {
	if err := walk(w); err != nil {
		return err
	}
	if err := w.tw.Close(); err != nil {
		return err
	}
	return w.out.Flush()
}

// time is what a modification time becomes in the layer.
func (o Options) time(t time.Time) time.Time {
	t = t.Truncate(timeUnit)
	if o.Epoch != nil {
		return *o.Epoch
	}
	if o.Clamp != nil && t.After(*o.Clamp) {
		return *o.Clamp
	}
	return t
}

// layerXattr tells which extended attributes belong to a layer's content.
func layerXattr(key string) bool {
	return key == "security.capability" || strings.HasPrefix(key, "user.") &&
		!strings.HasPrefix(key, "user.overlay.") && !strings.HasPrefix(key, "user.containers.")
}

// whiteout writes that rel is gone.
func (w *writer) whiteout(rel string) error {
	w.entries++
	dir, base := path.Split(rel)
	return w.tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: dir + ".wh." + base, ModTime: w.whiteoutTime(), Format: tar.FormatPAX,
	})
}

// whiteoutTime does not depend on when the file was removed: nothing can be learned from it.
func (w *writer) whiteoutTime() time.Time {
	if w.o.Epoch != nil {
		return *w.o.Epoch
	}
	return time.Unix(0, 0)
}

// entry writes one entry; name is in d, rel below the root.
func (w *writer) entry(d *rootfs.Dir, name, rel string, i rootfs.Info, attrs map[string][]byte) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if i.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil // a socket means nothing without its process
	}
	h, err := w.header(d, name, rel, i, attrs)
	if err != nil {
		return err
	}
	w.entries++
	w.uids[uint32(i.UID)], w.gids[uint32(i.GID)] = struct{}{}, struct{}{}
	if !i.IsDir() && i.Nlink > 1 {
		id := inode{i.Dev, i.Ino}
		if first, ok := w.links[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return w.writeHeader(h)
		}
		w.links[id] = rel
	}
	if err := w.writeHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	return w.data(d, name, h.Size)
}

func (w *writer) writeHeader(h *tar.Header) error {
	if err := w.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("writing layer entry %q: %w", h.Name, err)
	}
	return nil
}

func (w *writer) header(d *rootfs.Dir, name, rel string, i rootfs.Info, attrs map[string][]byte) (*tar.Header, error) {
	h := &tar.Header{
		Name: rel, Mode: int64(i.Perm()), Uid: i.UID, Gid: i.GID, ModTime: w.o.time(i.Mtime), Format: tar.FormatPAX,
	}
	var err error
	switch i.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, i.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, rel+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		h.Linkname, err = d.Readlink(name)
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if i.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(i.Rdev)), int64(unix.Minor(i.Rdev))
	default:
		err = fmt.Errorf("%s: unknown type of file %o", rel, i.Mode)
	}
	for k, v := range attrs {
		if layerXattr(k) {
			if h.PAXRecords == nil {
				h.PAXRecords = map[string]string{}
			}
			h.PAXRecords["SCHILY.xattr."+k] = string(v)
		}
	}
	return h, err
}

// data writes the content of a regular file, which must have the size it had when it was listed.
func (w *writer) data(d *rootfs.Dir, name string, size int64) error {
	f, err := d.OpenFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() != size {
		return fmt.Errorf("%s changed while the layer was being written", f.Name())
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w.tw}, struct{ io.Reader }{io.LimitReader(f, size)}, w.buf)
	if err == nil && n != size {
		err = fmt.Errorf("%s changed while the layer was being written", f.Name())
	}
	return err
}

package layer

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// whiteoutPrefix marks names that are gone in a tar, opaqueMarker directories that hide what was below.
const (
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
)

// A writer writes a layer's tar and, if split is set, what storage needs to write it again.
type writer struct {
	s       *stream
	split   *splitter
	entries int
	uids    ids
	gids    ids
	buf     []byte
}

type ids map[uint32]struct{}

func (s ids) list() []uint32 { return slices.Sorted(maps.Keys(s)) }

// newWriter writes the tar to out and the tar-split records to meta; either may be nil. It must be closed.
func newWriter(out, meta io.Writer) *writer {
	w := &writer{s: newStream(out), uids: ids{}, gids: ids{}}
	if meta != nil {
		w.split = newSplitter(meta)
	}
	return w
}

// raw writes bytes that are no file's content.
func (w *writer) raw(b []byte) {
	w.s.write(b)
	if w.split != nil {
		w.split.raw(b)
	}
}

// header writes an entry's header. If it has content, that must follow, and end the entry.
func (w *writer) header(h *header) (err error) {
	if w.buf, err = h.append(w.buf[:0]); err != nil {
		return err
	}
	w.raw(w.buf)
	w.entries++
	if h.size == 0 {
		return w.end(h, 0)
	}
	return nil
}

func (w *writer) owners(uid, gid uint32) {
	w.uids[uid], w.gids[gid] = struct{}{}, struct{}{}
}

// end ends an entry: the checksum is of its content.
func (w *writer) end(h *header, crc uint64) error {
	if w.split != nil {
		if err := w.split.file(h.tarName(), h.size, crc); err != nil {
			return err
		}
	}
	var zero [blockSize]byte
	w.raw(zero[:padding(h.size)])
	return nil
}

// content copies what h announced from the file src, and to dst unless that is negative. The holes of a sparse file are not read.
func (w *writer) content(ctx context.Context, h *header, src, dst int, sparse bool) error {
	if !sparse {
		crc, err := w.data(ctx, h, src, dst, 0, h.size, 0)
		if err != nil {
			return err
		}
		return w.end(h, crc)
	}
	crc, err := w.segments(ctx, h, src, dst)
	if err != nil {
		return err
	}
	if dst >= 0 {
		if err := unix.Ftruncate(dst, h.size); err != nil {
			return pathError("truncate", h.name, err)
		}
	}
	return w.end(h, crc)
}

// segments copies data and skips holes, and returns the checksum of it all.
func (w *writer) segments(ctx context.Context, h *header, src, dst int) (crc uint64, err error) {
	for at := int64(0); at < h.size; {
		data, end := rootfs.Segment(src, at, h.size)
		if data > at {
			if err := w.hole(ctx, h, src, data-at); err != nil {
				return 0, err
			}
			crc = crcOfZeros(crc, data-at)
		}
		if crc, err = w.data(ctx, h, src, dst, data, end, crc); err != nil {
			return 0, err
		}
		at = end
	}
	return crc, nil
}

// holeStep is how much of a hole is hashed before we look whether to stop: a hole may be of terabytes.
const holeStep = 64 << 20

// hole writes the zeros of a hole; a file that ends before it does looks like one.
func (w *writer) hole(ctx context.Context, h *header, src int, n int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return pathError("stat", h.name, err)
	}
	if st.Size < h.size {
		return errShorter(h)
	}
	for ; n > 0; n -= holeStep {
		if err := ctx.Err(); err != nil {
			return pathError("read", h.name, err)
		}
		w.s.zeros(min(n, holeStep))
	}
	return nil
}

func errShorter(h *header) error {
	return fmt.Errorf("%s became shorter while the layer was being written", h.name)
}

// data copies the bytes from at to end, and takes them into a checksum.
func (w *writer) data(ctx context.Context, h *header, src, dst int, at, end int64, crc uint64) (uint64, error) {
	for at < end {
		b := w.s.room(end - at)
		n, err := unix.Pread(src, b, at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, pathError("read", h.name, err)
		}
		if n == 0 {
			return 0, errShorter(h)
		}
		b = b[:n]
		if w.split != nil {
			crc = crc64.Update(crc, tarsplit.CRCTable, b)
		}
		if dst >= 0 {
			if err := writeAt(dst, b, at); err != nil {
				return 0, pathError("write", h.name, err)
			}
		}
		w.s.use(n)
		at += int64(n)
	}
	return crc, nil
}

// whiteout writes that a name in a directory is gone. Nothing tells when and by whom that was done: the
// same change must give the same layer with every driver.
func (w *writer) whiteout(dir, name string, mtime int64) error {
	return w.header(&header{name: path.Join(dir, whiteoutPrefix+name), kind: typeFile, mtime: mtime})
}

// opaque writes that a directory hides what the layers below have there.
func (w *writer) opaque(dir string, mtime int64) error {
	return w.header(&header{name: path.Join(dir, opaqueMarker), kind: typeFile, mtime: mtime})
}

// close ends the tar and returns its digest; the error may be that of an earlier write.
func (w *writer) close() (digest.Digest, error) {
	w.raw(make([]byte, 2*blockSize))
	sum, err := w.s.close()
	if err == nil && w.split != nil {
		err = w.split.close()
	}
	return sum, err
}

func writeAt(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

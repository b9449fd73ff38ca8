package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/klauspost/compress/gzip"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// ErrIndirect says that only storage itself can write a layer's tar.
var ErrIndirect = errors.New("the layer is no plain directory")

// OpenTar returns the tar of a stored layer, put together from its files and the records that were kept of it, or ErrIndirect. No lock of
// storage is held while it is read, nor anything written; that the bytes are the layer's the reader checks by their digest, as a
// layer may be removed meanwhile. The caller closes it.
func OpenTar(st storage.Store, id string) (io.ReadCloser, error) {
	d, err := st.GraphDriver()
	if err != nil {
		return nil, err
	}
	if !native(d) {
		return nil, ErrIndirect
	}
	records, err := os.Open(recordsFile(st, d, id))
	if err != nil {
		return nil, ErrIndirect // a layer of another store, or without records
	}
	a := &assembler{file: records}
	dir, _, err := directories(d, id)
	if err == nil && composed([]string{dir}) {
		err = ErrIndirect
	}
	if err == nil {
		a.root, err = rootfs.Open(dir, rootfs.Ignore)
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	plain, err := gzip.NewReader(records)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the records of layer %s: %w", id, err), a.Close())
	}
	a.entries = tarsplit.NewJSONUnpacker(plain)
	return a, nil
}

// ReadTar is OpenTar, but for every layer: what only storage can write goes to a temporary file in dir first, as storage holds its lock
// for as long as it writes.
func ReadTar(st storage.Store, id, dir string) (io.ReadCloser, error) {
	r, err := OpenTar(st, id)
	if !errors.Is(err, ErrIndirect) {
		return r, err
	}
	f, err := spooled(st, id, dir)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// spooled is a temporary file with a stored layer's tar, without a name. The caller closes it.
func spooled(st storage.Store, id, dir string) (*os.File, error) {
	f, err := unlinked(dir)
	if err != nil {
		return nil, err
	}
	plain := archive.Uncompressed
	diff, err := st.Diff("", id, &storage.DiffOptions{Compression: &plain})
	if err == nil {
		_, err = io.Copy(f, diff)
		err = errors.Join(err, diff.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading layer %s: %w", id, err), f.Close())
	}
	return f, nil
}

// An assembler reads a tar piece by piece: what the records have of it and files in turn.
type assembler struct {
	file    *os.File // the records
	entries tarsplit.Unpacker
	root    *rootfs.Root
	now     io.Reader
	content *os.File // behind now, if it is a file
	left    int64    // of it, in bytes
}

// Read implements io.Reader.
func (a *assembler) Read(p []byte) (int, error) {
	for {
		if a.now == nil {
			if err := a.next(); err != nil {
				return 0, err
			}
		}
		n, err := a.now.Read(p)
		if a.left -= int64(n); errors.Is(err, io.EOF) {
			err = a.end()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next opens the next piece; the error is io.EOF after the last.
func (a *assembler) next() error {
	e, err := a.entries.Next()
	if err != nil {
		return err //nolint:wrapcheck // io.EOF is told by identity
	}
	switch {
	case e.Type == tarsplit.SegmentType:
		a.now, a.left = bytes.NewReader(e.Payload), int64(len(e.Payload))
	case e.Type == tarsplit.FileType && e.Size > 0:
		f, err := a.open(e.GetName())
		if err != nil {
			return fmt.Errorf("reading layer: %w", err)
		}
		a.content, a.now, a.left = f, io.LimitReader(f, e.Size), e.Size
	default:
		a.now, a.left = bytes.NewReader(nil), 0
	}
	return nil
}

// open opens a file, and nothing else that a later entry of the tar may have put in its place: to open some devices does something.
func (a *assembler) open(name string) (*os.File, error) {
	info, err := a.root.Stat(name)
	if err == nil && !info.IsRegular() {
		err = fmt.Errorf("%s is no longer a regular file", name)
	}
	if err != nil {
		return nil, err
	}
	return a.root.Open(name)
}

// end closes a piece. A file that has become shorter spoils all that follows.
func (a *assembler) end() (err error) {
	if a.left != 0 {
		err = fmt.Errorf("reading layer: a file is %d bytes short", a.left)
	}
	if a.content != nil {
		err = errors.Join(err, a.content.Close())
	}
	a.now, a.content = nil, nil
	return err
}

// Close closes what is open.
func (a *assembler) Close() error {
	err := a.file.Close()
	if a.content != nil {
		err = errors.Join(err, a.content.Close())
	}
	if a.root != nil {
		err = errors.Join(err, a.root.Close())
	}
	return err
}

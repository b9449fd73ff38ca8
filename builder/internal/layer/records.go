package layer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// recordsFile is where storage keeps a layer's tar-split records, compressed.
func recordsFile(st storage.Store, d drivers.Driver, id string) string {
	return filepath.Join(st.GraphRoot(), d.String()+"-layers", id+".tar-split.gz")
}

// A recorder compresses tar-split records into a file as they are made: uncompressed they are as large as all that is small in the layer.
type recorder struct {
	file  *os.File
	first []byte // until it is known whether there is more
	z     *gzip.Writer
	out   *bufio.Writer // as the compressor writes a few bytes at a time
}

// firstRecords is how much is compressed without the tables that repay themselves on what is larger.
const firstRecords = 64 << 10

// newRecorder makes one whose file is in dir, and dies with the process.
func newRecorder(dir string) (*recorder, error) {
	f, err := unlinked(dir)
	return &recorder{file: f}, err
}

// Write takes records.
func (r *recorder) Write(p []byte) (int, error) {
	if r.z == nil && len(r.first)+len(p) <= firstRecords {
		r.first = append(r.first, p...)
		return len(p), nil
	}
	if r.z == nil {
		if err := r.start(gzip.BestSpeed); err != nil {
			return 0, err
		}
	}
	return r.z.Write(p)
}

// start begins to compress what there is.
func (r *recorder) start(level int) (err error) {
	r.out = bufio.NewWriterSize(r.file, 32<<10)
	if r.z, err = gzip.NewWriterLevel(r.out, level); err != nil {
		return err
	}
	_, err = r.z.Write(r.first)
	r.first = nil
	return err
}

// end completes the file.
func (r *recorder) end() error {
	if r.z == nil {
		if err := r.start(gzip.StatelessCompression); err != nil {
			return err
		}
	}
	return errors.Join(r.z.Close(), r.out.Flush())
}

// keepRecords stores the records of a staged layer, compressed by a recorder, as storage would when it takes the layer: they are on disk
// before the layer is known. Storage's own way needs megabytes of fresh memory for each layer, a tenth of what a small one costs.
func (t *task) keepRecords(id string, staged *drivers.DriverWithDifferOutput) error {
	if staged.TarSplit == nil {
		return nil
	}
	d, err := t.st.GraphDriver()
	if err != nil {
		return err
	}
	if err := durable(staged.TarSplit, recordsFile(t.st, d, id)); err != nil {
		return fmt.Errorf("storing the records of layer %s: %w", id, err)
	}
	err = staged.TarSplit.Close()
	staged.TarSplit = nil // storage has nothing to do
	return err
}

// durable copies all of a file to the name, synced, at once.
func durable(from *os.File, name string) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	to, err := os.CreateTemp(filepath.Dir(name), ".tmp-records-")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	err = errors.Join(err, unix.Fdatasync(int(to.Fd())), to.Close())
	if err == nil {
		err = os.Rename(to.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

package layer

import (
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

// keepRecords stores the records of a staged layer as storage would when it takes the layer: they are on disk before the layer is known.
// Storage's own way needs megabytes of fresh memory for each layer, a tenth of what a small one costs.
func (t *task) keepRecords(id string, staged *drivers.DriverWithDifferOutput) error {
	if staged.TarSplit == nil {
		return nil
	}
	d, err := t.st.GraphDriver()
	if err != nil {
		return err
	}
	if err := compressed(staged.TarSplit, recordsFile(t.st, d, id)); err != nil {
		return fmt.Errorf("storing the records of layer %s: %w", id, err)
	}
	err = staged.TarSplit.Close()
	staged.TarSplit = nil // storage has nothing to do
	return err
}

// compressed writes all of a file to the name, compressed and synced, at once.
func compressed(from *os.File, name string) error {
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	to, err := os.CreateTemp(filepath.Dir(name), ".tmp-records-")
	if err != nil {
		return err
	}
	err = errors.Join(compress(from, to), unix.Fdatasync(int(to.Fd())), to.Close())
	if err == nil {
		err = os.Rename(to.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(to.Name()))
	}
	return nil
}

// compress compresses quickly; what is small without the tables that repay themselves on what is large.
func compress(from *os.File, to io.Writer) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	level := gzip.BestSpeed
	if info.Size() <= 64<<10 {
		level = gzip.StatelessCompression
	}
	z, err := gzip.NewWriterLevel(to, level)
	if err != nil {
		return err
	}
	buf := make([]byte, max(1, min(info.Size(), 128<<10))) // in one piece: each Write of a stateless writer is a block
	if _, err := io.CopyBuffer(z, struct{ io.Reader }{from}, buf); err != nil {
		return err
	}
	return z.Close()
}

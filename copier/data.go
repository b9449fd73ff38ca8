package copier

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// write makes the file base in dir from r, whose size is expected to be size (0 if unknown), and returns
// the digest of the data. Runs of zeros become holes when the file is large enough to matter.
func (c *copying) write(dir *rootfs.Dir, base string, r io.Reader, size int64) (sum []byte, n int64, err error) {
	f, err := dir.Create(base, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if src, ok := r.(*os.File); ok && c.o.NoDigest {
		n, err = f.ReadFrom(src) // copy_file_range: the kernel shares the blocks where the file system can
		return nil, n, err
	}
	return c.stream(f, r)
}

// stream copies and hashes in one pass.
func (c *copying) stream(f *os.File, r io.Reader) (sum []byte, n int64, err error) {
	h := sha256.New()
	hole := false
	for {
		k, rerr := io.ReadFull(r, c.buf)
		h.Write(c.buf[:k])
		n += int64(k)
		if hole = k == len(c.buf) && allZero(c.buf); hole {
			_, err = f.Seek(int64(k), io.SeekCurrent)
		} else if k > 0 {
			_, err = f.Write(c.buf[:k])
		}
		if err != nil {
			return nil, n, err
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			return h.Sum(nil), n, f.Truncate(n)
		}
		if rerr != nil {
			return nil, n, rerr
		}
	}
}

func allZero(b []byte) bool {
	return b[0] == 0 && b[len(b)-1] == 0 && bytes.Count(b, []byte{0}) == len(b)
}

func (c *copying) hashFile(f *os.File) ([]byte, error) {
	if c.o.NoDigest {
		return nil, nil
	}
	h := sha256.New()
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{readerCtx{c.ctx, f}}, c.buf)
	return h.Sum(nil), err
}

func (c *copying) mtime(info rootfs.Info) time.Time {
	if c.o.Mtime != nil {
		return *c.o.Mtime
	}
	return info.Mtime
}

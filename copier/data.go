package copier

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// create makes a new file, in place of what is there.
func (c *copying) create(to place) (*rootfs.File, error) {
	f, err := to.dir.NewRegular(to.base, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := c.vacate(to); err != nil {
		return nil, err
	}
	return to.dir.NewRegular(to.base, 0o600)
}

// copyFile writes a copy of an open file with all it has. It returns the digest of the data unless that is not wanted.
func (c *copying) copyFile(f *rootfs.File, got result, to place, buf []byte) (sum []byte, err error) {
	out, err := c.create(to)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = to.dir.Unlink(to.base) // half a file is worth nothing, and fills the disk that may be full
		}
	}()
	switch size := got.info.Size; {
	case size <= int64(len(buf)):
		sum, err = c.small(out, f, buf[:size])
	case c.o.NoDigest:
		err = c.clone(out, f, size, buf)
	default:
		sum, _, err = stream(out, readerCtx{c.ctx, f}, buf)
	}
	if err != nil {
		return nil, err
	}
	return sum, c.fileAttributes(out, got.info, got.attrs)
}

// shrunk says that a file has less in it than it said when it was opened. One that grows is copied as it was.
func shrunk(f *rootfs.File) error {
	return fmt.Errorf("%s was truncated while being copied", f.Name())
}

// small copies a file that fits into a buffer.
func (c *copying) small(out, f *rootfs.File, buf []byte) ([]byte, error) {
	switch _, err := io.ReadFull(f, buf); {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, shrunk(f)
	case err != nil:
		return nil, err
	}
	if _, err := out.Write(buf); err != nil {
		return nil, err
	}
	if c.o.NoDigest {
		return nil, nil
	}
	sum := sha256.Sum256(buf)
	return sum[:], nil
}

// clone copies data in the kernel: shared blocks where the file system can (reflink), else copy_file_range, which keeps
// the data out of our memory; and by hand where two file systems are concerned. Holes stay holes.
func (c *copying) clone(out, f *rootfs.File, size int64, buf []byte) error {
	if unix.IoctlFileClone(out.Fd(), f.Fd()) == nil {
		return nil
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, err := unix.Seek(f.Fd(), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		if err != nil {
			data = at // cannot tell
		}
		hole, err := unix.Seek(f.Fd(), data, unix.SEEK_HOLE)
		if err != nil {
			hole = size
		}
		hole = min(hole, size)
		if err := c.span(out, f, data, hole, buf); err != nil {
			return err
		}
		at = max(hole, at+1)
	}
	return nil
}

// step is how much the kernel copies before we look whether to stop.
const step = 64 << 20

// span copies the bytes from at to end.
func (c *copying) span(out, f *rootfs.File, at, end int64, buf []byte) error {
	byHand := false
	for at < end {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		var n int
		var err error
		if byHand {
			n, err = unix.Pread(f.Fd(), buf[:min(int64(len(buf)), end-at)], at)
			if err == nil && n > 0 {
				_, err = unix.Pwrite(out.Fd(), buf[:n], at)
			}
		} else {
			from, to := at, at
			n, err = unix.CopyFileRange(f.Fd(), &from, out.Fd(), &to, int(min(step, end-at)), 0)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOSPC) {
				byHand, err, n = true, unix.EINTR, 0 // EXDEV, EINVAL, ENOSYS …: an error of its own comes up again
			}
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return &rootfs.PathError{Op: "copying to", Path: out.Name(), Err: err}
		case n == 0:
			return shrunk(f)
		}
		at += int64(n)
	}
	return nil
}

// stream copies and hashes in one pass. Runs of zeros become holes.
func stream(f *rootfs.File, r io.Reader, buf []byte) (sum []byte, n int64, err error) {
	h := sha256.New()
	for {
		k, rerr := io.ReadFull(r, buf)
		h.Write(buf[:k])
		n += int64(k)
		if k == len(buf) && allZero(buf) {
			_, err = f.Seek(int64(k), io.SeekCurrent)
		} else if k > 0 {
			_, err = f.Write(buf[:k])
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

// hashFile returns the digest of a file's data.
func (c *copying) hashFile(f *rootfs.File, info rootfs.Info, buf []byte) ([]byte, error) {
	if c.o.NoDigest {
		return nil, nil
	}
	if info.Size <= int64(len(buf)) {
		n, err := io.ReadFull(f, buf[:info.Size])
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		sum := sha256.Sum256(buf[:n])
		return sum[:], nil
	}
	h := sha256.New()
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{readerCtx{c.ctx, f}}, buf)
	return h.Sum(nil), err
}

func (c *copying) mtime(info rootfs.Info) time.Time {
	if c.o.Mtime != nil {
		return *c.o.Mtime
	}
	return info.Mtime
}

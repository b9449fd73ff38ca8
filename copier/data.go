package copier

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// create makes a new file, in place of what is there.
func (c *copying) create(to place, perm uint32) (*rootfs.File, error) {
	f, err := to.dir.NewRegular(to.base, perm)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := c.vacate(to); err != nil {
		return nil, err
	}
	return to.dir.NewRegular(to.base, perm)
}

// private is the mode of new files that get their own later.
const private = 0o600

// beginning is the mode that a copy is made with: its own, if nothing of that must wait for the owner.
func (c *copying) beginning(info rootfs.Info) uint32 {
	perm := c.chmod.Apply(info.Perm(), false)
	if perm&^0o777 != 0 || c.dst.Ownership() != rootfs.Apply {
		return private
	}
	return perm
}

// settled tells whether a new file has owner and mode as they are to be, as most have: to set them again costs more than all else but
// making the file.
func (c *copying) settled(f *rootfs.File, info rootfs.Info) bool {
	if c.dst.Ownership() != rootfs.Apply || c.dst.Mapped() {
		return false
	}
	now, err := f.Info()
	uid, gid := c.owner(info)
	return err == nil && now.UID == uid && now.GID == gid && now.Perm() == c.chmod.Apply(info.Perm(), false)
}

// fill makes a new file a copy of an open one, with all that has, and notes the digest of the data, unless that is not wanted.
func (c *copying) fill(out, f *rootfs.File, got *result, to place, buf []byte) (err error) {
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
		got.sum, err = c.small(out, f, buf[:size])
	case c.o.NoDigest:
		err = c.clone(out, f, size, nil, buf)
	default:
		h := sha256.New()
		err = c.clone(out, f, size, h, buf)
		got.sum = h.Sum(nil)
	}
	if err != nil {
		return err
	}
	if !c.settled(out, got.info) {
		if err = c.permissions(out, got.info); err != nil {
			return err
		}
	}
	if err = c.extras(out, got.info, got.attrs); err != nil {
		return err
	}
	got.info, err = f.Info() // as it is now: see Content.State
	return err
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
// the data out of our memory; and by hand where two file systems are concerned. Holes stay holes. h, if not nil, gets what
// was written, read back while it is in memory: one copy less than reading and writing, and true of the copy.
func (c *copying) clone(out, f *rootfs.File, size int64, h hash.Hash, buf []byte) error {
	if unix.IoctlFileClone(out.Fd(), f.Fd()) == nil {
		if h == nil {
			return nil
		}
		_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{readerCtx{c.ctx, out}}, buf)
		return err
	}
	if err := out.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < size; {
		data, hole := rootfs.Segment(f.Fd(), at, size)
		if err := c.zeros(h, data-at, buf); err != nil {
			return err
		}
		if err := c.span(out, f, data, hole, h, buf); err != nil {
			return err
		}
		at = max(hole, data)
	}
	return nil
}

// zeros puts the data of a hole into h.
func (c *copying) zeros(h hash.Hash, n int64, buf []byte) error {
	if h == nil || n <= 0 {
		return nil
	}
	clear(buf)
	for ; n > 0; n -= int64(len(buf)) {
		if err := c.ctx.Err(); err != nil { // a hole may be of terabytes
			return err
		}
		h.Write(buf[:min(n, int64(len(buf)))])
	}
	return nil
}

// step is how much the kernel copies before we look whether to stop, and while it is still in the processor's cache.
const step = 4 << 20

// span copies the bytes from at to end.
func (c *copying) span(out, f *rootfs.File, at, end int64, h hash.Hash, buf []byte) error {
	byHand := false
	for at < end {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := 0, error(nil)
		if byHand {
			n, err = move(out, f, at, end, buf)
		} else {
			from, to := at, at
			n, err = unix.CopyFileRange(f.Fd(), &from, out.Fd(), &to, int(min(step, end-at)), 0)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOSPC) {
				byHand = true // EXDEV, EINVAL, ENOSYS …: an error of its own comes up again
				continue
			}
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			return shrunk(f)
		}
		if err == nil && h != nil {
			err = readBack(out, h, at, n, buf)
		}
		if err != nil {
			return &rootfs.PathError{Op: "copying to", Path: out.Name(), Err: err}
		}
		at += int64(n)
	}
	return nil
}

// move copies up to a buffer of bytes by hand.
func move(out, f *rootfs.File, at, end int64, buf []byte) (int, error) {
	n, err := unix.Pread(f.Fd(), buf[:min(int64(len(buf)), end-at)], at)
	if err != nil || n == 0 {
		return n, err
	}
	return unix.Pwrite(out.Fd(), buf[:n], at)
}

func readBack(out *rootfs.File, h hash.Hash, at int64, n int, buf []byte) error {
	for end := at + int64(n); at < end; {
		k, err := unix.Pread(out.Fd(), buf[:min(int64(len(buf)), end-at)], at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		h.Write(buf[:k])
		at += int64(k)
	}
	return nil
}

// indexedSum is hashFile for what the index does not know.
func (c *copying) indexedSum(f *rootfs.File, info rootfs.Info, buf []byte) ([]byte, error) {
	if sum, ok := c.o.Index.lookup(info); ok || c.o.NoDigest {
		return sum, nil
	}
	sum, err := c.hashFile(f, info, buf)
	if err != nil || c.o.Index == nil {
		return sum, err
	}
	after, err := f.Info()
	c.o.Index.store(info, after, sum, time.Now())
	return sum, err
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
	whole := io.LimitReader(readerCtx{c.ctx, f}, info.Size) // whatever is added meanwhile: it might not end
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{whole}, buf)
	return h.Sum(nil), err
}

func (c *copying) mtime(info rootfs.Info) time.Time {
	if c.o.Mtime != nil {
		return *c.o.Mtime
	}
	return info.Mtime
}

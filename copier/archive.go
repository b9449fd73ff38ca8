package copier

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/copier/untar"
)

// Extract unpacks an archive, compressed or not, into the directory dest.
func Extract(ctx context.Context, dst *rootfs.Root, dest string, r io.Reader, o Options) (Content, error) {
	c, err := newCopying(ctx, dst, o)
	if err != nil {
		return Content{}, err
	}
	if err := c.extract(dest, "", r); err != nil {
		return Content{}, err
	}
	return c.content(nil, 1), nil
}

// unpack extracts a file of the source if its content is an archive, whatever it is called.
func (c *copying) unpack(from *rootfs.Dir, name, dest string) (bool, error) {
	f, info, err := from.Regular(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if !isArchive(f) {
		return false, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	if c.dst == nil { // nothing but its bytes counts, which the index may know
		sum, err := c.indexedSum(f, info, c.buffer(0))
		c.archived(name, sum)
		c.seen(name, info)
		return true, err
	}
	if err := c.extract(dest, name, f); err != nil {
		return true, fmt.Errorf("%s: %w", name, err)
	}
	if info, err = f.Info(); err != nil { // as it is now: see Content.State
		return true, err
	}
	c.seen(name, info)
	return true, nil
}

// extract unpacks r and puts the digest of its bytes as they came into the digest of the whole.
func (c *copying) extract(dest, name string, r io.Reader) error {
	h, raw := sha256.New(), io.Reader(readerCtx{c.ctx, r})
	if !c.o.NoDigest {
		raw = io.TeeReader(raw, h)
	}
	if err := c.extractTo(dest, raw); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, raw, c.buffer(0)); err != nil { // what follows the archive's end counts too
		return err
	}
	c.archived(name, h.Sum(nil))
	return nil
}

func (c *copying) extractTo(dest string, raw io.Reader) error {
	body, done, err := decompress(bufio.NewReaderSize(raw, 64<<10))
	if err != nil {
		return fmt.Errorf("reading archive: %w", err)
	}
	defer done()
	d, _, err := c.mkdirAll(dest)
	if err != nil {
		return err
	}
	d.Close()
	root, err := c.dst.Sub(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err = untar.Untar(c.ctx, body, root, untar.Options{UID: c.o.UID, GID: c.o.GID, Mtime: c.o.Mtime, SkipDevice: c.o.SkipDevice}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil && !garbage(err) { // to the checksum, which comes last
		return fmt.Errorf("reading archive: %w", err)
	}
	return nil
}

// garbage tells whether an error is about what follows a whole compressed stream. The programs do not mind it either.
func garbage(err error) bool {
	var bz bzip2.StructuralError
	return errors.Is(err, gzip.ErrHeader) || errors.As(err, &bz) && strings.Contains(bz.Error(), "continuation")
}

// IsArchive tells whether what r gives next is a tar, compressed or not. Nothing is consumed.
func IsArchive(r *bufio.Reader) bool {
	head, _ := r.Peek(sniffCompressed) // a shorter stream is looked at as well
	return isArchive(bytes.NewReader(head))
}

// sniffCompressed is how much of a stream holds the first header even when it is compressed.
const sniffCompressed = 64 << 10

// sniffSize is how much of the uncompressed content is looked at.
const sniffSize = 512

// isArchive tells whether a stream is a tar, compressed or not.
func isArchive(r io.Reader) bool {
	body, done, err := decompress(bufio.NewReader(r))
	if err != nil {
		return false
	}
	defer done()
	head := make([]byte, sniffSize)
	if _, err := io.ReadFull(body, head); err != nil {
		return false
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return false // zeros, not a header
	}
	_, err = tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil || errors.Is(err, io.ErrUnexpectedEOF) // a long header's data is cut off
}

var magics = map[string]string{"\x1f\x8b": "gzip", "BZh": "bzip2", xzMagic: "xz", zstdMagic: "zstd"}

const zstdMagic = "\x28\xb5\x2f\xfd"

// skippable tells whether a frame begins here that zstd's decoders skip; pzstd writes one first (RFC 8878 §3.1.2).
func skippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

// decompress looks at the first bytes and returns the uncompressed stream. The caller calls done.
func decompress(r *bufio.Reader) (body io.Reader, done func(), err error) {
	none := func() {}
	head, _ := r.Peek(6) // a shorter stream matches nothing below
	if skippable(head) {
		head = []byte(zstdMagic)
	}
	for magic, name := range magics {
		if !bytes.HasPrefix(head, []byte(magic)) {
			continue
		}
		switch name {
		case "gzip":
			body, err = gzip.NewReader(r)
		case "bzip2":
			body = bzip2.NewReader(r)
		case "xz":
			body, err = newXZ(r)
		case "zstd":
			var z *zstd.Decoder
			if z, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err == nil {
				return z, z.Close, nil
			}
		}
		return body, none, err
	}
	return r, none, nil
}

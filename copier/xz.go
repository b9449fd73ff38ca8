package copier

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads .xz files: streams of blocks of LZMA2, each with a checksum. The container is read here, as the library's reader makes
// a dictionary of whatever size a block asks for: a few bytes of an archive could take 4 GiB of memory.
type xzReader struct {
	r     counting
	check byte
	block *lzma.Reader2
	sum   hash.Hash // of the block
	start int64     // where the block's data begin
	head  int64     // how long its header is
	size  int64     // how much came out of it
	// count and records are the blocks so far, the latter as a checksum of what the index has to say of them.
	count   uint64
	records hash.Hash32
}

const (
	xzMagic = "\xfd7zXZ\x00"
	// maxDict is the largest dictionary; that of xz -9 is a quarter of it.
	maxDict = 256 << 20
)

var errXZ = errors.New("xz: damaged")

// counting counts what was read.
type counting struct {
	r *bufio.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// take reads n bytes, all of which must be there.
func (c *counting) take(n int) ([]byte, error) {
	b := make([]byte, n)
	k, err := io.ReadFull(c.r, b)
	c.n += int64(k)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// newXZ reads the header of the first stream.
func newXZ(r *bufio.Reader) (*xzReader, error) {
	x := &xzReader{r: counting{r: r}}
	return x, x.stream()
}

// stream reads the header of a stream.
func (x *xzReader) stream() error {
	b, err := x.r.take(12)
	if err != nil {
		return err
	}
	if string(b[:6]) != xzMagic || b[6] != 0 || !sealed(b[6:8], b[8:]) {
		return errXZ
	}
	x.check, x.count, x.records = b[7], 0, crc32.NewIEEE()
	if x.hash() == nil {
		return fmt.Errorf("xz: unknown kind of checksum %d", x.check)
	}
	return nil
}

func sealed(b, sum []byte) bool { return crc32.ChecksumIEEE(b) == binary.LittleEndian.Uint32(sum) }

// hash is what blocks are checked with, nil for a kind that is not known.
func (x *xzReader) hash() hash.Hash {
	switch x.check {
	case 0:
		return noSum{crc32.NewIEEE()}
	case 1:
		return crc32.NewIEEE()
	case 4:
		return crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		return sha256.New()
	}
	return nil
}

// noSum is the checksum of who wants none.
type noSum struct{ hash.Hash }

func (noSum) Size() int           { return 0 }
func (noSum) Sum(b []byte) []byte { return b }

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(p)
		x.sum.Write(p[:n])
		x.size += int64(n)
		if errors.Is(err, io.EOF) {
			x.block, err = nil, x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next begins a block: of this stream, or of one that follows it. At the end it is io.EOF.
func (x *xzReader) next() error {
	for {
		first, err := x.r.take(1)
		if err != nil {
			return err
		}
		if first[0] != 0 {
			return x.header(first)
		}
		if err := x.index(); err != nil {
			return err
		}
		for { // padding between streams
			pad, err := x.r.r.Peek(4)
			if len(pad) == 0 && errors.Is(err, io.EOF) {
				return io.EOF
			}
			if !bytes.Equal(pad, make([]byte, 4)) {
				break
			}
			if _, err := x.r.take(4); err != nil {
				return err
			}
		}
		if err := x.stream(); err != nil {
			return err
		}
	}
}

// header reads the header of a block behind its first byte.
func (x *xzReader) header(first []byte) error {
	rest, err := x.r.take((int(first[0])+1)*4 - 1)
	if err != nil {
		return err
	}
	b := append(first, rest...)
	end := len(b) - 4
	if !sealed(b[:end], b[end:]) {
		return errXZ
	}
	r := bytes.NewReader(b[2:end])
	for _, has := range []byte{0x40, 0x80} { // sizes, which the index has too
		if b[1]&has != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return errXZ
			}
		}
	}
	var filter [3]byte // LZMA2, one byte of properties, the dictionary
	if _, err := io.ReadFull(r, filter[:]); err != nil || b[1]&0x3f != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return errors.New("xz: a block uses other filters than LZMA2")
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	if err != nil || dict > maxDict {
		return fmt.Errorf("xz: a dictionary of %d bytes is too large, at most %d", dict, maxDict)
	}
	x.sum, x.size, x.head, x.start = x.hash(), 0, int64(len(b)), x.r.n
	x.block, err = lzma.Reader2Config{DictCap: max(int(dict), lzma.MinDictCap)}.NewReader2(&x.r)
	return err
}

// endBlock reads what follows the data of a block.
func (x *xzReader) endBlock() error {
	packed := x.r.n - x.start
	pad, err := x.r.take(int(-packed & 3))
	if err != nil {
		return err
	}
	sum, err := x.r.take(x.sum.Size())
	if err != nil {
		return err
	}
	if !bytes.Equal(pad, make([]byte, len(pad))) || !x.matches(sum) {
		return errors.New("xz: checksum error")
	}
	x.count++
	x.records.Write(record(uint64(x.head+packed+int64(len(sum))), uint64(x.size)))
	return nil
}

// matches compares a checksum of the file, which has numbers the other way around than Go.
func (x *xzReader) matches(sum []byte) bool {
	got := x.sum.Sum(nil)
	if x.check != 10 {
		for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
			got[i], got[j] = got[j], got[i]
		}
	}
	return bytes.Equal(got, sum)
}

func record(unpadded, size uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, unpadded), size)
}

// index reads the list of blocks behind its first byte, and the end of the stream.
func (x *xzReader) index() error {
	start, sum := x.r.n-1, crc32.NewIEEE()
	sum.Write([]byte{0})
	bytesOf := &summed{c: &x.r, h: sum}
	count, err := binary.ReadUvarint(bytesOf)
	listed := crc32.NewIEEE()
	for n := uint64(0); err == nil && n < count && count == x.count; n++ {
		var unpadded, size uint64
		if unpadded, err = binary.ReadUvarint(bytesOf); err == nil {
			size, err = binary.ReadUvarint(bytesOf)
		}
		listed.Write(record(unpadded, size))
	}
	for err == nil && (x.r.n-start)&3 != 0 {
		var pad byte
		if pad, err = bytesOf.ReadByte(); err == nil && pad != 0 {
			err = errXZ
		}
	}
	if err != nil {
		return err
	}
	length := x.r.n - start + 4
	b, err := x.r.take(16)
	if err != nil {
		return err
	}
	foot := b[4:]
	if count != x.count || listed.Sum32() != x.records.Sum32() || sum.Sum32() != binary.LittleEndian.Uint32(b) || !sealed(foot[4:10], foot) ||
		(int64(binary.LittleEndian.Uint32(foot[4:]))+1)*4 != length || foot[8] != 0 || foot[9] != x.check || string(foot[10:]) != "YZ" {
		return errXZ
	}
	return nil
}

// summed gives bytes and puts them into a checksum.
type summed struct {
	c *counting
	h hash.Hash
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.c.take(1)
	s.h.Write(b)
	return b[0], err
}

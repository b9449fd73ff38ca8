package imagebuildah

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxKept is how much a stage may print before its turn, in bytes, before it is kept in a file: it must not wait, as others need its
// result, and what it printed is not to be lost.
const maxKept = 1 << 20

// kept is what a stage has printed before its turn: pieces of its two streams, in their order.
type kept struct {
	list []chunk
	size int
	file *os.File // without a name, behind the list; nil while the list is enough
}

type chunk struct {
	stream int
	text   []byte
}

// add keeps a piece of a stream. What fails leaves what was kept as it was.
func (k *kept) add(stream int, text []byte) (err error) {
	if k.file == nil && k.size+len(text) <= maxKept {
		k.list = append(k.list, chunk{stream, append([]byte(nil), text...)})
		k.size += len(text)
		return nil
	}
	if k.file == nil {
		if k.file, err = unnamed(); err != nil {
			return err
		}
	}
	at, err := k.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(text))<<1|uint64(stream)) //nolint:gosec // neither is negative
	if _, err := k.file.Write(append(head, text...)); err != nil {
		_, _ = k.file.Seek(at, io.SeekStart) // the end of what counts
		return err
	}
	return nil
}

// unnamed is a temporary file that is gone with its descriptor, and with us if we are killed where the file system can do that.
func unnamed() (*os.File, error) {
	if fd, err := unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
		return os.NewFile(uintptr(fd), "kept output"), nil
	}
	f, err := os.CreateTemp("", "slipway-output-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// replay hands over what was kept, and forgets it.
func (k *kept) replay(to func(stream int, text []byte)) {
	for _, c := range k.list {
		to(c.stream, c.text)
	}
	if k.file != nil {
		_ = k.pieces(to) // what cannot be read again is lost, not the build
	}
	k.discard()
}

// pieces reads the file again.
func (k *kept) pieces(to func(stream int, text []byte)) error {
	end, err := k.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	r := bufio.NewReader(io.NewSectionReader(k.file, 0, end))
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(head[:])
		text := make([]byte, n>>1)
		if _, err := io.ReadFull(r, text); err != nil {
			return err
		}
		to(int(n&1), text)
	}
}

// discard forgets what was kept.
func (k *kept) discard() {
	if k.file != nil {
		_ = k.file.Close()
	}
	*k = kept{}
}

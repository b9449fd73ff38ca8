package layer

import (
	"crypto/sha256"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

const (
	firstSize  = 16 << 10 // enough for most layers; more memory would be cleared for nothing
	chunkSize  = 256 << 10
	chunkCount = 4
)

// A stream takes the bytes of a tar, in chunks that a second goroutine hashes, and writes to out if
// that is not nil, while the next ones are being read: hashing costs as much as reading. Close must be called.
type stream struct {
	size   int64
	chunk  []byte // being filled: its length is what is in use
	free   chan []byte
	full   chan part
	done   chan struct{}
	err    error // of out; to be read once done is closed
	sum    hash.Hash
	closed bool
}

// A part of a stream is bytes and, after them, a number of zeros: those of a hole are never in memory.
type part struct {
	b     []byte
	zeros int64
}

func newStream(out io.Writer) *stream {
	s := &stream{
		chunk: make([]byte, 0, firstSize),
		free:  make(chan []byte, chunkCount), full: make(chan part, chunkCount),
		done: make(chan struct{}), sum: sha256.New(),
	}
	for range chunkCount - 1 {
		s.free <- nil
	}
	go s.drain(out)
	return s
}

func (s *stream) drain(out io.Writer) {
	defer close(s.done)
	var hole []byte
	for p := range s.full {
		s.take(out, p.b)
		if p.zeros > 0 && hole == nil {
			hole = make([]byte, chunkSize)
		}
		for n := p.zeros; n > 0; n -= chunkSize {
			s.take(out, hole[:min(n, chunkSize)])
		}
		s.free <- p.b[:0]
	}
}

func (s *stream) take(out io.Writer, b []byte) {
	s.sum.Write(b)
	if out != nil && s.err == nil {
		_, s.err = out.Write(b)
	}
}

// room returns space for at most n bytes, at least one of them; use says how many were put there.
func (s *stream) room(n int64) []byte {
	if len(s.chunk) == cap(s.chunk) {
		s.pass(0)
	}
	b := s.chunk[len(s.chunk):cap(s.chunk)]
	return b[:min(int64(len(b)), n)]
}

// pass hands on what is there, and so many zeros after it.
func (s *stream) pass(zeros int64) {
	s.full <- part{s.chunk, zeros}
	if s.chunk = <-s.free; cap(s.chunk) < chunkSize {
		s.chunk = make([]byte, 0, chunkSize)
	}
}

// zeros adds n zeros.
func (s *stream) zeros(n int64) {
	s.pass(n)
	s.size += n
}

func (s *stream) use(n int) {
	s.chunk = s.chunk[:len(s.chunk)+n]
	s.size += int64(n)
}

func (s *stream) write(b []byte) {
	for len(b) > 0 {
		n := copy(s.room(int64(len(b))), b)
		s.use(n)
		b = b[n:]
	}
}

// close ends the stream and the goroutine. It may be called twice.
func (s *stream) close() (digest.Digest, error) {
	if !s.closed {
		s.closed = true
		s.full <- part{b: s.chunk}
		close(s.full)
		<-s.done
	}
	return digest.NewDigest(digest.SHA256, s.sum), s.err
}

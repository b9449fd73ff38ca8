package layer

import "io"

// An ahead is a reader that another goroutine reads ahead of, in chunks: what its source costs is paid beside what is done with
// the content.
type ahead struct {
	full chan chunk
	free chan []byte
	quit chan struct{}
	now  chunk
	at   int
}

type chunk struct {
	b   []byte
	err error
}

func readAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan chunk, chunkCount), free: make(chan []byte, chunkCount), quit: make(chan struct{})}
	for range chunkCount {
		a.free <- make([]byte, chunkSize)
	}
	go a.fill(r)
	return a
}

// fill reads until the source ends or nobody wants more.
func (a *ahead) fill(r io.Reader) {
	for {
		select {
		case <-a.quit:
			return
		case b := <-a.free:
			n, err := fillUp(r, b)
			a.full <- chunk{b[:n], err} // there is always room: chunks are as many as fit
			if err != nil {
				return
			}
		}
	}
}

// fillUp reads until b is full or the source ends. Unlike io.ReadFull it leaves the source's error alone: an unexpected end is no end.
func fillUp(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for a.at == len(a.now.b) {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.b != nil {
			a.free <- a.now.b[:chunkSize]
		}
		a.now, a.at = <-a.full, 0
	}
	n := copy(p, a.now.b[a.at:])
	a.at += n
	return n, nil
}

// stop ends the goroutine after its current read.
func (a *ahead) stop() { close(a.quit) }

package imagebuildah

import (
	"context"
	"io"
	"sync"
)

// A console puts what stages print that are built side by side into the order of one after the other: the first stage that
// has not ended writes through, the others are kept until it is their turn. So the output does not depend on
// how fast anything is, and no line is torn.
type console struct {
	mu   sync.Mutex
	room *sync.Cond
	turn int
	over bool // nothing is written any more
	// stopped says that the build is being ended: nobody waits for a turn any more.
	stopped bool
	list    []*part
}

// maxKept is how much a stage may print before its turn, in bytes; then it waits. It cannot wait for ever, since the stages
// before it do not need it, or have hurried it.
const maxKept = 4 << 20

// part is the output of one stage.
type part struct {
	c       *console
	to      [2]io.Writer // standard output and error
	pos     int
	kept    []chunk
	size    int
	closed  bool
	hurried bool // somebody waits for it
}

type chunk struct {
	stream int
	text   []byte
}

// A stream is a part's standard output or error.
type stream struct {
	p *part
	n int
}

// add adds a part, which is printed behind those that are there.
func (c *console) add(out, err io.Writer) {
	if c.room == nil {
		c.room = sync.NewCond(&c.mu)
	}
	c.list = append(c.list, &part{c: c, to: [2]io.Writer{orDiscard(out), orDiscard(err)}, pos: len(c.list)})
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Write prints, now or when it is the stage's turn.
func (s stream) Write(text []byte) (int, error) {
	c, p := s.p.c, s.p
	c.mu.Lock()
	defer c.mu.Unlock()
	for p.full() && !c.over && !c.stopped && !p.hurried {
		c.room.Wait()
	}
	switch {
	case c.over, c.stopped && p.full():
		return len(text), nil
	case p.pos <= c.turn:
		return p.to[s.n].Write(text)
	case p.full():
		p.flush()
	}
	p.kept = append(p.kept, chunk{s.n, append([]byte(nil), text...)})
	p.size += len(text)
	return len(text), nil
}

// full tells whether the part has printed as much before its turn as is kept.
func (p *part) full() bool { return p.pos > p.c.turn && p.size > maxKept }

// await waits for what a stage that prints to the part makes. Who waits may have the turn, so that the part must not wait for it: what it
// cannot keep it prints at once.
func (p *part) await(ctx context.Context, end <-chan struct{}) error {
	select {
	case <-end:
		return nil
	default:
	}
	p.c.mu.Lock()
	p.hurried = true
	p.c.room.Broadcast()
	p.c.mu.Unlock()
	select {
	case <-end:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop lets nobody wait any more: those who have the turn are being ended too, and would not give it on.
func (c *console) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.room.Broadcast()
}

// close ends a part: the next ones have their turn.
func (p *part) close() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	p.closed = true
	for c.turn < len(c.list) && c.list[c.turn].closed {
		if c.turn++; c.turn < len(c.list) {
			c.list[c.turn].flush()
		}
	}
	c.room.Broadcast()
}

// show prints what the part has printed so far, whoever's turn it is: somebody is about to look at it.
func (p *part) show() {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.flush()
}

// fail shows what the part has printed, whoever's turn it is, and ends all output.
func (p *part) fail() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		p.flush()
	}
	c.over = true
	c.room.Broadcast()
}

func (p *part) flush() {
	for _, k := range p.kept {
		_, _ = p.to[k.stream].Write(k.text) // as with the ordinary output, a closed terminal stops no build
	}
	p.kept, p.size = nil, 0
}

package imagebuildah

import (
	"io"
	"sync"
)

// A console puts what stages print that are built side by side into the order of one after the other: the first stage that
// has not ended writes through, the others are kept until it is their turn. So the output does not depend on
// how fast anything is, and no line is torn.
type console struct {
	mu   sync.Mutex
	turn int
	over bool // nothing is written any more
	list []*part
}

// part is the output of one stage.
type part struct {
	c      *console
	to     [2]io.Writer // standard output and error
	pos    int
	kept   kept
	closed bool
}

// A stream is a part's standard output or error.
type stream struct {
	p *part
	n int
}

// add adds a part, which is printed behind those that are there.
func (c *console) add(out, err io.Writer) {
	c.list = append(c.list, &part{c: c, to: [2]io.Writer{orDiscard(out), orDiscard(err)}, pos: len(c.list)})
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// Write prints, now or when it is the stage's turn. What cannot be kept is printed at once.
func (s stream) Write(text []byte) (int, error) {
	c, p := s.p.c, s.p
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return len(text), nil
	}
	if p.pos > c.turn && p.kept.add(s.n, text) == nil {
		return len(text), nil
	}
	p.flush()
	return p.to[s.n].Write(text)
}

// discard forgets what nobody has seen of a build that ends.
func (c *console) discard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.list {
		p.kept.discard()
	}
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
}

func (p *part) flush() {
	p.kept.replay(func(stream int, text []byte) {
		_, _ = p.to[stream].Write(text) // as with the ordinary output, a closed terminal stops no build
	})
}

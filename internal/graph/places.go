package graph

import (
	"context"
	"slices"
	"sync"
)

// Places are for those who do something of which only so many may do it at a time.
type Places struct {
	mu    sync.Mutex
	free  int
	queue []waiter // the next one first
}

type waiter struct {
	rank int
	turn chan struct{} // closed when it has a place
}

// NewPlaces makes n places.
func NewPlaces(n int) *Places { return &Places{free: n} }

// Try takes a place if one is free.
func (p *Places) Try() (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 {
		return nil, false
	}
	p.free--
	return p.leave, true
}

// Take waits for a place, until ctx ends. Of those who wait the lowest rank is first, and of one rank who came first. The place is
// given back with leave.
func (p *Places) Take(ctx context.Context, rank int) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if leave, ok := p.Try(); ok {
		return leave, nil
	}
	w := p.ask(rank)
	select {
	case <-w.turn:
		return p.leave, nil
	case <-ctx.Done():
		p.forget(w)
		return nil, context.Cause(ctx)
	}
}

func (p *Places) ask(rank int) waiter {
	w := waiter{rank, make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free > 0 {
		p.free--
		close(w.turn)
		return w
	}
	at := slices.IndexFunc(p.queue, func(o waiter) bool { return o.rank > rank })
	if at < 0 {
		at = len(p.queue)
	}
	p.queue = slices.Insert(p.queue, at, w)
	return w
}

func (p *Places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.free++
		return
	}
	close(p.queue[0].turn)
	p.queue = slices.Delete(p.queue, 0, 1)
}

// forget takes one who waits no more out of the queue; it may have got a place meanwhile.
func (p *Places) forget(w waiter) {
	p.mu.Lock()
	at := slices.Index(p.queue, w)
	if at >= 0 {
		p.queue = slices.Delete(p.queue, at, at+1)
	}
	p.mu.Unlock()
	if at < 0 {
		p.leave()
	}
}

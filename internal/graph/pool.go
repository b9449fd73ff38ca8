package graph

import (
	"context"
	"runtime"
	"sync"
)

// A Pool runs functions that need nothing of each other.
type Pool struct {
	slots chan struct{}
	all   sync.WaitGroup
}

// NewPool makes a pool that runs at most jobs at a time (0: as many as there are CPUs).
func NewPool(jobs int) *Pool {
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	return &Pool{slots: make(chan struct{}, jobs)}
}

// Go has f called as soon as there is room, and not at all if ctx ends before.
func (p *Pool) Go(ctx context.Context, f func()) {
	p.all.Go(func() {
		select {
		case p.slots <- struct{}{}:
			defer func() { <-p.slots }()
			if ctx.Err() == nil { // both may be so
				f()
			}
		case <-ctx.Done():
		}
	})
}

// Wait waits until all have ended.
func (p *Pool) Wait() { p.all.Wait() }

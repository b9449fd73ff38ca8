// Package graph does pieces of work that need each other, several at a time. It knows nothing of what they are.
package graph

import (
	"context"
	"errors"
)

// Run calls do for each of the nodes 0 to len(needs)-1, a node once those that needs lists for it have succeeded, at most
// jobs at a time (0: all that can). Of the nodes that are ready the lowest one goes first, so that with
// one job the order is fixed. The first error cancels the context of the others and Run returns when all have ended, with the
// error of the lowest node that failed by itself. Nodes that need each other in a circle are an error.
func Run(ctx context.Context, needs [][]int, jobs int, do func(ctx context.Context, node int) error) error {
	if jobs <= 0 {
		jobs = len(needs)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{needs: needs, state: make([]state, len(needs)), errs: make([]error, len(needs))}
	ended := make(chan int)
	for running := 0; ; {
		for running < jobs && ctx.Err() == nil {
			n := r.next()
			if n < 0 {
				break
			}
			r.state[n] = started
			running++
			go func() {
				r.errs[n] = do(ctx, n)
				ended <- n
			}()
		}
		if running == 0 {
			return r.result(ctx)
		}
		n := <-ended
		running--
		if r.errs[n] != nil {
			r.state[n] = failed
			cancel()
		} else {
			r.state[n] = done
		}
	}
}

type state int

const (
	waiting state = iota
	started
	done
	failed
)

// run is the state of one Run; only its goroutine touches it, but for an error that is handed over by a channel.
type run struct {
	needs [][]int
	state []state
	errs  []error
}

// next is the lowest node that is ready, or -1.
func (r *run) next() int {
nodes:
	for n, s := range r.state {
		if s != waiting {
			continue
		}
		for _, need := range r.needs[n] {
			if r.state[need] != done {
				continue nodes
			}
		}
		return n
	}
	return -1
}

func (r *run) result(ctx context.Context) error {
	var cancelled error
	for _, err := range r.errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		cancelled = errors.Join(cancelled, err)
	}
	if cancelled != nil {
		return context.Cause(ctx)
	}
	for _, s := range r.state {
		if s != done {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return errors.New("a circle of pieces that need each other")
		}
	}
	return nil
}

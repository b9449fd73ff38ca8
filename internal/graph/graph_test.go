package graph

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// With one job the order is that of the nodes, what is needed first.
func TestOrder(t *testing.T) {
	t.Parallel()
	var got []int
	err := Run(t.Context(), [][]int{{2}, {}, {}, {0, 1}}, 1, func(_ context.Context, n int) error { got = append(got, n); return nil })
	if err != nil || !slices.Equal(got, []int{1, 2, 0, 3}) {
		t.Errorf("order %v, %v", got, err)
	}
}

// Nodes that do not need each other run together, never more than allowed.
func TestParallel(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	running, most := 0, 0
	together := make(chan bool) // closed when three run at once: without parallelism the test would hang, and fail
	err := Run(t.Context(), make([][]int, 9), 3, func(context.Context, int) error {
		mu.Lock()
		running++
		if most = max(most, running); running == 3 && most == 3 {
			select {
			case <-together:
			default:
				close(together)
			}
		}
		mu.Unlock()
		<-together
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	})
	if err != nil || most != 3 {
		t.Errorf("%d at once, %v", most, err)
	}
}

// An error stops the others, and what needs the failed node never starts.
func TestError(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	stopped := false
	err := Run(t.Context(), [][]int{{}, {}, {1}}, 2, func(ctx context.Context, n int) error {
		switch n {
		case 0:
			<-ctx.Done()
			stopped = true
			return ctx.Err()
		case 1:
			return bad
		}
		t.Error("node 2 was started")
		return nil
	})
	if !errors.Is(err, bad) || !stopped {
		t.Errorf("got %v, stopped %v", err, stopped)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Run(ctx, [][]int{{}, {0}}, 1, func(ctx context.Context, n int) error { cancel(why); return ctx.Err() })
	if !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	if err = Run(ctx, [][]int{{}, {0}}, 1, func(context.Context, int) error { cancel(why); return nil }); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestCircle(t *testing.T) {
	t.Parallel()
	if err := Run(t.Context(), [][]int{{1}, {0}}, 2, func(context.Context, int) error { return nil }); err == nil {
		t.Error("no error")
	}
}

package graph

import (
	"context"
	"sync"
	"testing"
)

// Each function waits until as many run as may, and none may find more.
func TestPool(t *testing.T) {
	const jobs, all = 3, 12
	p := NewPool(jobs)
	var mu sync.Mutex
	full := sync.NewCond(&mu)
	running, done, most := 0, 0, 0
	for range all {
		p.Go(t.Context(), func() {
			mu.Lock()
			defer mu.Unlock()
			running++
			most = max(most, running)
			full.Broadcast()
			for most < jobs {
				full.Wait()
			}
			running--
			done++
		})
	}
	p.Wait()
	if most != jobs || done != all {
		t.Errorf("%d at a time instead of %d, %d of %d done", most, jobs, done, all)
	}
}

func TestPoolCancelled(t *testing.T) {
	p := NewPool(1)
	ctx, cancel := context.WithCancel(t.Context())
	started, end := make(chan struct{}), make(chan struct{})
	p.Go(ctx, func() { close(started); <-end })
	<-started
	p.Go(ctx, func() { t.Error("called after the end") })
	cancel()
	close(end)
	p.Wait()
}

package graph

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// Each waits until as many have a place as may, and none may find more.
func TestPlaces(t *testing.T) {
	t.Parallel()
	const jobs, all = 3, 12
	p := NewPlaces(jobs)
	var mu sync.Mutex
	var group sync.WaitGroup
	full := sync.NewCond(&mu)
	running, done, most := 0, 0, 0
	for range all {
		group.Go(func() {
			leave, err := p.Take(t.Context(), 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
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
	group.Wait()
	if most != jobs || done != all {
		t.Errorf("%d at a time instead of %d, %d of %d done", most, jobs, done, all)
	}
}

// Those who wait get the place by rank, then in the order they came.
func TestPlacesOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(1)
		leave, err := p.Take(t.Context(), 9)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, who := range []struct {
			rank int
			name string
		}{{2, "c"}, {1, "a"}, {2, "d"}, {1, "b"}} {
			go func() {
				if leave, err := p.Take(t.Context(), who.rank); err == nil {
					got = append(got, who.name)
					leave()
				}
			}()
			synctest.Wait() // it stands in the queue
		}
		leave()
		synctest.Wait()
		if want := []string{"a", "b", "c", "d"}; !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// Who is cancelled leaves nothing behind, whether it waited or had just got the place.
func TestPlacesCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		p := NewPlaces(1)
		leave, _ := p.Take(t.Context(), 0)
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { _, err := p.Take(ctx, 0); ended <- err }()
		synctest.Wait()
		cancel(why)
		if err := <-ended; !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		leave()
		w := p.ask(0)
		p.forget(w)
		if _, err := p.Take(ctx, 0); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		if leave, ok := p.Try(); !ok {
			t.Error("no place is free")
		} else {
			if _, ok := p.Try(); ok {
				t.Error("two places are free")
			}
			leave()
		}
		if p.free != 1 || len(p.queue) != 0 {
			t.Errorf("%d free, %d waiting", p.free, len(p.queue))
		}
	})
}

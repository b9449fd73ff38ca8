package flock

import (
	"errors"
	"path/filepath"
	"testing"
	"time"
)

func TestExclusion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	a, err := Acquire(path, Shared)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Try(path, Shared)
	if err != nil {
		t.Fatalf("two shared locks: %v", err)
	}
	if _, err := Try(path, Exclusive); !errors.Is(err, ErrLocked) {
		t.Fatalf("exclusive beside shared: got %v, want ErrLocked", err)
	}
	a.Close()
	b.Close()
	c, err := Try(path, Exclusive)
	if err != nil {
		t.Fatalf("after unlocking: %v", err)
	}
	c.Close()
}

// A waiter must not end up holding a file that its former holder removed.
func TestRemovedWhileWaiting(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	a, err := Acquire(path, Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *Lock)
	go func() {
		l, err := Acquire(path, Exclusive)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	time.Sleep(20 * time.Millisecond)
	if err := a.Remove(); err != nil {
		t.Fatal(err)
	}
	l := <-got
	defer l.Close()
	if _, err := Try(path, Exclusive); !errors.Is(err, ErrLocked) {
		t.Fatalf("the waiter's lock excludes nobody: %v", err)
	}
}

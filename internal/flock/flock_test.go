package flock

import (
	"errors"
	"io/fs"
	"os"
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

// A directory is locked as it is: nothing is written to it, and both modes exclude what they have to.
func TestAcquireDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // a directory
		t.Fatal(err)
	}
	one, err := AcquireDir(dir, Shared)
	if err != nil {
		t.Fatal(err)
	}
	two, err := AcquireDir(dir, Shared)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.Only(); !errors.Is(err, ErrLocked) {
		t.Errorf("exclusive beside another: %v", err)
	}
	if err := two.Only(); err != nil {
		t.Errorf("exclusive alone: %v", err)
	}
	if _, err := AcquireDir(dir+"/none", Shared); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

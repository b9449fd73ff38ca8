// Package flock holds advisory locks on files for as long as a process lives: the kernel drops them
// when it dies, however it dies. It is not for locks within one process.
package flock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrLocked says that another process, or another open lock, holds the lock.
var ErrLocked = errors.New("locked by another process")

// A Lock is a locked file. Close unlocks it.
type Lock struct{ f *os.File }

// Mode says who may hold a lock at the same time.
type Mode int

// The modes.
const (
	Shared    Mode = syscall.LOCK_SH
	Exclusive Mode = syscall.LOCK_EX
)

// Acquire locks path, making the file if needed, and waits for it.
func Acquire(path string, m Mode) (*Lock, error) { return lock(path, int(m)) }

// Try is like Acquire but returns ErrLocked at once when the lock is held.
func Try(path string, m Mode) (*Lock, error) { return lock(path, int(m)|syscall.LOCK_NB) }

// AcquireDir locks a directory that is there and waits for it. It writes nothing to it, so to read a directory is enough.
func AcquireDir(path string, m Mode) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, int(m)); err != nil {
		f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

func lock(path string, how int) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(f, how); err != nil {
			f.Close()
			return nil, err
		}
		// Someone may have removed the file between open and lock; a lock on a removed file excludes nobody.
		if same(f, path) {
			return &Lock{f}, nil
		}
		f.Close()
	}
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		}
		return fmt.Errorf("locking %s: %w", f.Name(), err)
	}
}

func same(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Stat(path)
	return err == nil && os.SameFile(a, b)
}

// Only makes a shared lock exclusive. When others have it too it returns ErrLocked, and the lock is lost: of several that try at
// the same time the last one gets it.
func (l *Lock) Only() error { return flock(l.f, syscall.LOCK_EX|syscall.LOCK_NB) }

// Close unlocks.
func (l *Lock) Close() error { return l.f.Close() }

// Remove unlocks and removes the file.
func (l *Lock) Remove() error {
	return errors.Join(os.Remove(l.f.Name()), l.f.Close())
}

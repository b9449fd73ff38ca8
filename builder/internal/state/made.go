package state

import (
	"os"
	"syscall"
	"time"
)

// Made is when a container's layer was ready, by the clock of its file system. A store that is copied gives its files other times of change, and
// the container's directory another inode, by which that is told.
type Made struct {
	At    time.Time
	Inode uint64
}

// MadeAt is the note to keep for the container with that directory.
func MadeAt(t time.Time, dir string) (*Made, error) {
	inode, err := inodeOf(dir)
	return &Made{t.UTC(), inode}, err
}

// In is that time, or zero if nothing is known of the container with that directory.
func (m *Made) In(dir string) time.Time {
	if m == nil {
		return time.Time{}
	}
	if inode, err := inodeOf(dir); err != nil || inode != m.Inode {
		return time.Time{}
	}
	return m.At
}

func inodeOf(dir string) (uint64, error) {
	fi, err := os.Stat(dir)
	if err != nil {
		return 0, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, nil
	}
	return st.Ino, nil
}

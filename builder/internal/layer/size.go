package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// Size returns how many bytes of files the writable layer rw adds to what lies below, those with several names
// counted once. On overlay it only looks at what was changed.
func Size(ctx context.Context, st storage.Store, rw string) (int64, error) {
	l, err := st.Layer(rw)
	if err != nil {
		return 0, fmt.Errorf("reading layer %s: %w", rw, err)
	}
	t, err := newTask(ctx, st, l, l.Parent, Options{})
	if err != nil {
		return 0, err
	}
	if !t.staged {
		return st.DiffSize("", rw)
	}
	size, seen := int64(0), map[inode]bool{}
	err = filepath.WalkDir(t.upper, func(p string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || !e.Type().IsRegular() {
			return ignoreGone(err)
		}
		var s unix.Stat_t
		if err := unix.Lstat(p, &s); err != nil {
			return ignoreGone(pathError("stat", p, err))
		}
		if id := (inode{s.Dev, s.Ino}); !seen[id] {
			seen[id] = s.Nlink > 1
			size += s.Size
		}
		return nil
	})
	return size, err
}

// ignoreGone lets containers remove files while they are being counted.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

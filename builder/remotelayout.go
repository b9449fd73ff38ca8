package builder

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/containers/image/v5/types"

	"github.com/slipway-build/slipway/internal/flock"
)

// A remote cache may be a layout, a directory that several builds of this machine, or pods with one volume, use. The image library rewrites
// its index in place, and reads it wherever a layout is opened: so that is done under a lock of the directory.

// lockLayout keeps others from a layout, whose index is rewritten in place, until what it returns is called. Not every file system has locks.
func (c *RemoteCache) lockLayout(m flock.Mode) (unlock func()) {
	if c.dir == "" {
		return func() {}
	}
	lock, err := flock.AcquireDir(c.dir, m)
	if err != nil {
		return func() {}
	}
	return func() { _ = lock.Close() }
}

func (c *RemoteCache) index() string { return filepath.Join(c.dir, layoutIndex) }

// indexed tells whether there is an index, if the cache is a layout and has one: who was killed while he wrote it has left a part.
func (c *RemoteCache) indexed() bool {
	if c.dir == "" {
		return true
	}
	text, err := LayoutIndex(c.dir)
	return err == nil && json.Valid(text) || err != nil && !errors.Is(err, errNotPlain)
}

// prepare makes the directory of a layout that is to be written to, and takes away what is no index of it.
func (c *RemoteCache) prepare() error {
	if c.dir == "" {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // layouts are for everyone
		return err
	}
	defer c.lockLayout(flock.Exclusive)()
	if !c.indexed() {
		if err := os.Remove(c.index()); err != nil {
			return err
		}
	}
	return plainPlace(c.ref)
}

// source is where blobs are read from. The caller closes it.
func (c *RemoteCache) source(ctx context.Context) (types.ImageSource, error) {
	defer c.lockLayout(flock.Shared)()
	return c.ref.NewImageSource(ctx, c.sys)
}

// destination is where blobs are written to. The caller closes it.
func (c *RemoteCache) destination(ctx context.Context) (types.ImageDestination, error) {
	defer c.lockLayout(flock.Shared)()
	return c.ref.NewImageDestination(ctx, c.sys)
}

package builder

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/flock"
)

// A slowRegistry has one blob and looks, when that is read, whether others can store layers meanwhile.
type slowRegistry struct {
	types.ImageReference
	types.ImageSource
	lock   string
	locked error
}

func (r *slowRegistry) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return r, nil
}

func (r *slowRegistry) Close() error { return nil }

func (r *slowRegistry) GetBlob(context.Context, types.BlobInfo, types.BlobInfoCache) (io.ReadCloser, int64, error) {
	return io.NopCloser(r), 1, nil
}

func (r *slowRegistry) Read([]byte) (int, error) {
	l, err := flock.Try(r.lock, flock.Exclusive)
	if r.locked = err; err == nil {
		l.Close()
	}
	return 0, errors.New("the connection is gone")
}

// While a step comes from a remote cache, which may take any time, nobody is kept from storing layers.
func TestFetchKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	s, err := Open(StoreOptions{Root: filepath.Join(t.TempDir(), "root"), RunRoot: t.TempDir(), Driver: "vfs"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	registry := &slowRegistry{lock: filepath.Join(s.GraphRoot(), "slipway", "layers.lock")}
	sum := digest.FromString("layer")
	c := &RemoteCache{s: s, ref: registry}
	if _, err := c.Fetch(t.Context(), RemoteResult{remoteStep{Key: "key", DiffID: sum, Blob: sum, Size: 1}}, ""); err == nil || errors.Is(err, ErrNoLayer) {
		t.Errorf("fetching ends with %v", err)
	}
	if registry.locked != nil {
		t.Errorf("the lock that all who make layers need: %v", registry.locked)
	}
}

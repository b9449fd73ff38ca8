package builder

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
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

// What others have added to the list while our layers were on their way stays in it.
func TestPushMerges(t *testing.T) {
	t.Parallel()
	s, err := Open(StoreOptions{Root: filepath.Join(t.TempDir(), "root"), RunRoot: t.TempDir(), Driver: "vfs"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w, err := s.NewWorkspace(t.Context(), "", config.New("linux", "amd64", ""), WorkspaceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.Seal(t.Context(), "", LayerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	place := "type=local,dest=" + t.TempDir()
	open := func() *RemoteCache {
		c, err := s.OpenRemoteCache(t.Context(), place, Registry{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	writers := []*RemoteCache{open(), open(), open()} // all have seen an empty list
	for i, key := range []string{"one", "two", "three"} {
		if _, err := writers[i].Push(t.Context(), []RemoteStep{{Key: key, Layer: l}}, nil, Compression{}); err != nil {
			t.Fatal(err)
		}
	}
	if list := open().steps; len(list) != 3 {
		t.Errorf("the list has %d of three steps", len(list))
	}
	if _, err := writers[0].Push(t.Context(), []RemoteStep{{Key: "two", Layer: l, Fresh: true, Damaged: true}}, nil, Compression{}); err != nil {
		t.Fatal(err)
	}
	if list := open().steps; len(list) != 3 || len(list["two"]) != 1 {
		t.Errorf("after one was replaced: %v", list)
	}
}

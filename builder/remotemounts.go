package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/archive"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/copier/untar"
	"github.com/slipway-build/slipway/internal/flock"
)

// What cache mounts hold is in a remote cache's list beside the steps, as one blob each. A step stands for the same content for
// ever; a mount is replaced by what a later build has made of it.

// A CacheMount is a cache mount that a command has used: the key that it is stored under, and what the Dockerfile calls it.
type CacheMount struct{ Key, ID string }

const mountPrefix = "mount:"

func (m CacheMount) listed() string { return mountPrefix + m.Key }

func isMount(key string) bool { return strings.HasPrefix(key, mountPrefix) }

// Mounts tells whether the place is for the content of cache mounts too.
func (c *RemoteCache) Mounts() bool { return c.mounts }

// FetchMount unpacks what the cache has of a cache mount into the empty directory dir; the error is ErrNoLayer if it has nothing.
// After other errors dir may hold anything.
func (c *RemoteCache) FetchMount(ctx context.Context, m CacheMount, dir string) error {
	step, ok := c.held[m.listed()]
	if !ok || !c.mounts {
		return ErrNoLayer
	}
	if err := c.unpackMount(ctx, step, dir); err != nil {
		return fmt.Errorf("build cache %s: cache mount %q: %w", c.place, m.ID, err)
	}
	return nil
}

func (c *RemoteCache) unpackMount(ctx context.Context, step remoteStep, dir string) error {
	blob, err := c.open(ctx, step)
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := zstd.NewReader(blob, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return err
	}
	defer plain.Close()
	root, err := rootfs.Open(dir, c.s.own)
	if err != nil {
		return err
	}
	defer root.Close()
	sum := digest.Canonical.Digester()
	tarred := io.TeeReader(plain, sum.Hash())
	if _, err := untar.Untar(ctx, tarred, root, untar.Options{}); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tarred); err != nil {
		return err
	}
	if sum.Digest() != step.DiffID {
		return fmt.Errorf("the content is %s instead of %s", sum.Digest(), step.DiffID)
	}
	return nil
}

// uploadMounts sends what cache mounts hold by now, if it is something else than the list says, and adds that to fresh.
func (c *RemoteCache) uploadMounts(ctx context.Context, mounts []CacheMount, fresh map[string]remoteStep) error {
	var errs []error
	for _, m := range mounts {
		if _, ok := fresh[m.listed()]; ok {
			continue
		}
		step, changed, err := c.uploadMount(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("cache mount %q: %w", m.ID, err))
		} else if changed {
			fresh[m.listed()] = step
		}
	}
	return errors.Join(errs...)
}

// uploadMount sends one, while nobody else uses it: half of what another command writes is of no use to anyone.
func (c *RemoteCache) uploadMount(ctx context.Context, m CacheMount) (step remoteStep, changed bool, err error) {
	dir := filepath.Join(c.s.st.GraphRoot(), "slipway", "mounts", m.Key)
	lock, err := flock.Try(filepath.Join(dir, "lock"), flock.Exclusive)
	if errors.Is(err, flock.ErrLocked) {
		return step, false, errors.New("it is in use by another build")
	}
	if err != nil {
		return step, false, err
	}
	defer lock.Close()
	data := filepath.Join(dir, "data")
	diffID, _, err := layer.Tar(ctx, data, nil, c.s.own)
	if errors.Is(err, os.ErrNotExist) {
		return step, false, nil // removed since
	}
	if err != nil || c.held[m.listed()].DiffID == diffID {
		return step, false, err
	}
	dest, err := c.destination(ctx)
	if err != nil {
		return step, false, err
	}
	defer dest.Close()
	r, w := io.Pipe()
	go func() { w.CloseWithError(c.packMount(ctx, data, w)) }()
	info, err := dest.PutBlob(ctx, r, types.BlobInfo{Size: -1}, none.NoCache, false)
	r.CloseWithError(context.Canceled) // ends the goroutine if it was not read to the end
	if err != nil {
		return step, false, err
	}
	return remoteStep{
		Key: m.listed(), DiffID: diffID, Blob: info.Digest, Size: info.Size, Made: c.s.o.Now(), MediaType: typeZstd,
	}, true, nil
}

func (c *RemoteCache) packMount(ctx context.Context, data string, w io.Writer) error {
	z, err := archive.CompressStream(w, archive.Zstd)
	if err != nil {
		return err
	}
	_, _, err = layer.Tar(ctx, data, z, c.s.own)
	return errors.Join(err, z.Close())
}

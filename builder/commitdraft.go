package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// A draft is an image of a container that is in storage in parts only: its configuration is in memory, the layers of the base are
// stored, and that of the container's changes is written from the container's files each time it is read. It was written once before, to
// nowhere, as configuration and manifest name its digest; errChanged ends a reading that gives another.
type draft struct {
	types.ImageReference // a reference to storage that names the container: for policies and messages
	s                    *Store
	base                 []*Layer
	blobs                manifest.Blobs
	own                  layer.Result // without ID; empty if there is no layer for the changes
	write                func(context.Context, io.Writer) (layer.Result, error)
	changed              atomic.Bool
}

// errChanged says that a container's files changed between two readings.
var errChanged = errors.New("the container was changed while it was being committed")

// draft reads the container's changes once and describes the image that they make.
func (c *Container) draft(ctx context.Context, o CommitOptions) (*draft, error) {
	parent, lo, err := c.ownLayer(o)
	if err != nil {
		return nil, err
	}
	d := &draft{s: c.s}
	if d.ImageReference, err = c.s.storageRef(c.id); err != nil {
		return nil, err
	}
	cfg := c.cfg.Clone()
	if o.Output.Squash {
		cfg.RootFS.DiffIDs, cfg.History, lo.AllowEmpty = nil, nil, true
	} else if d.base, err = c.s.Layers(parent); err != nil {
		return nil, fmt.Errorf("committing %s: reading layers: %w", c.Name(), err)
	}
	d.write = func(ctx context.Context, out io.Writer) (layer.Result, error) {
		return layer.Write(ctx, c.s.st, c.layer, parent, o.Output.Squash, out, lo)
	}
	if d.own, err = d.write(ctx, nil); err != nil {
		return nil, fmt.Errorf("committing %s: reading the changes: %w", c.Name(), err)
	}
	var layers []manifest.Layer
	for _, l := range d.base {
		layers = append(layers, manifest.Layer{DiffID: l.DiffID, Size: l.Size})
	}
	none := d.own.Empty && !lo.AllowEmpty
	if none {
		d.own = layer.Result{}
	} else {
		layers = append(layers, manifest.Layer{DiffID: d.own.DiffID, Size: d.own.Size})
	}
	created := c.s.created(o.Output)
	cfg.Created = &created
	cfg.RootFS.DiffIDs = make([]digest.Digest, len(layers)) // their number counts here
	c.addHistory(cfg, o.Output, created, none)
	if o.Output, err = c.edit(cfg, o); err != nil {
		return nil, err
	}
	d.blobs, err = c.s.imageBlobs(cfg, layers, o.Output)
	return d, err
}

// layers is how many there are.
func (d *draft) layers() int {
	if d.own.DiffID == "" {
		return len(d.base)
	}
	return len(d.base) + 1
}

// NewImageSource opens the image.
func (d *draft) NewImageSource(context.Context, *types.SystemContext) (types.ImageSource, error) {
	return &draftSource{d}, nil
}

type draftSource struct{ d *draft }

// Reference returns the draft.
func (s *draftSource) Reference() types.ImageReference { return s.d }

// Close has nothing to do.
func (s *draftSource) Close() error { return nil }

// GetManifest returns the manifest.
func (s *draftSource) GetManifest(context.Context, *digest.Digest) ([]byte, string, error) {
	return s.d.blobs.Manifest, s.d.blobs.MediaType, nil
}

// GetSignatures returns none: a new image has none.
func (s *draftSource) GetSignatures(context.Context, *digest.Digest) ([][]byte, error) {
	return nil, nil
}

// LayerInfosForCopy says that layers are as the manifest describes them.
func (s *draftSource) LayerInfosForCopy(context.Context, *digest.Digest) ([]types.BlobInfo, error) {
	return nil, nil
}

// HasThreadSafeGetBlob says that blobs may be read side by side.
func (s *draftSource) HasThreadSafeGetBlob() bool { return true }

// GetBlob reads the configuration or a layer.
func (s *draftSource) GetBlob(ctx context.Context, info types.BlobInfo, _ types.BlobInfoCache) (io.ReadCloser, int64, error) {
	d := s.d
	if info.Digest == d.blobs.ConfigDigest {
		return io.NopCloser(bytes.NewReader(d.blobs.Config)), int64(len(d.blobs.Config)), nil
	}
	for _, l := range d.base {
		if l.DiffID == info.Digest {
			r, err := layer.ReadTar(d.s.st, l.ID, d.s.o.TempDir)
			return r, l.Size, err
		}
	}
	if d.own.DiffID == "" || info.Digest != d.own.DiffID {
		return nil, 0, fmt.Errorf("the image has no blob %s", info.Digest)
	}
	return d.read(ctx), d.own.Size, nil
}

// read writes the container's layer to who reads.
func (d *draft) read(ctx context.Context) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := d.write(ctx, w)
		if err == nil && res.DiffID != d.own.DiffID || err != nil && ctx.Err() == nil {
			d.changed.Store(true)
			err = errors.Join(errChanged, err)
		}
		w.CloseWithError(err)
	}()
	return &draftReader{r, func() { cancel(); r.Close(); <-done }}
}

// A draftReader ends the writing when it is closed.
type draftReader struct {
	io.Reader
	stop func()
}

// Close ends the writing, and waits for its end.
func (r *draftReader) Close() error {
	r.stop()
	return nil
}

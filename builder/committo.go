package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/builder/internal/layer"
)

// CommitTo makes an image of the container at dest, which is not local storage. What the container changed is read and sent; nothing is
// stored here, unless it is to be layers of several makers (added files, copy --link), or commands go on changing it: then the image is
// stored, pushed and dropped again. The container is removed, if o says so, after all is at dest.
func (c *Container) CommitTo(ctx context.Context, dest string, o CommitOptions) (*Committed, error) {
	ref, err := destination(dest)
	if err != nil {
		return nil, err
	}
	if format := o.Output.Compression.Format; strings.HasPrefix(format, "zstd") && cmp.Or(o.Output.Format, c.Format()) == FormatDocker {
		return nil, fmt.Errorf("committing %s to %s: images of docker format cannot have layers compressed by %s: use oci format", c.Name(), refText(ref), format)
	}
	hold, err := c.hold(o.Remove)
	if err != nil {
		return nil, err
	}
	defer hold.Close()
	po := PushOptions{Registry: o.Registry, Compression: o.Output.Compression, Sign: o.Sign, Encrypt: o.Encrypt, Report: o.Report}
	if o.Output.Timestamp != nil || o.Output.Epoch != nil {
		t := c.s.created(o.Output)
		po.Time = &t
	}
	if !isLocalTransport(ref) && cmp.Or(o.Output.Format, c.Format()) != FormatDocker {
		if po, err = c.s.withCompression(po, ispec.MediaTypeImageManifest); err != nil {
			return nil, err
		}
	}
	var raw []byte
	_, err = c.s.signed(ctx, ref, po, func() (digest.Digest, error) {
		raw, err = c.send(ctx, ref, o, po)
		return po.digestOf(raw, err)
	})
	var denied *DeniedError
	if errors.As(err, &denied) {
		err = fmt.Errorf("commit to registry at %q denied by policy: %s", denied.Host, denied.Reason)
	}
	if err != nil {
		return nil, err
	}
	done, err := DescribeManifest(raw)
	if err == nil && o.Remove {
		err = c.remove()
	}
	return done, err
}

// send copies the image to dest and returns its manifest there.
func (c *Container) send(ctx context.Context, dest types.ImageReference, o CommitOptions, po PushOptions) ([]byte, error) {
	if !o.SBOM.On() && c.cfg.OS != windows && len(o.AddFiles)+len(c.rec.AppendedLinkedLayers) == 0 {
		raw, err := c.sendDraft(ctx, dest, o, po)
		if !errors.Is(err, errChanged) && !errors.Is(err, layer.ErrMoved) {
			return raw, err
		}
		c.s.o.Log.Debug("the image is stored before it is sent", "container", c.id, "reason", err)
	}
	o.Remove, o.Sign = false, Signing{}
	img, err := c.commit(ctx, nil, o)
	if err != nil {
		return nil, err
	}
	raw, err := c.s.push(ctx, img, dest, po, false)
	if len(img.Names()) == 0 {
		err = errors.Join(err, c.s.dropUnnamed(img))
	}
	return raw, err
}

func (c *Container) sendDraft(ctx context.Context, dest types.ImageReference, o CommitOptions, po PushOptions) ([]byte, error) {
	if err := c.afterKilled(); err != nil {
		return nil, err
	}
	d, err := c.draft(ctx, o)
	if err != nil {
		return nil, err
	}
	sys, err := c.s.system(o.Registry, Platform{})
	if err != nil {
		return nil, err
	}
	if err := compress(sys, po.Compression, !isLocalTransport(dest)); err != nil {
		return nil, err
	}
	raw, err := c.s.send(ctx, dest, d, po, copy.Options{SourceCtx: &c.s.sys, DestinationCtx: sys})
	if err != nil && d.changed.Load() {
		err = errors.Join(errChanged, err)
	}
	return raw, err
}

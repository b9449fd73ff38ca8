package builder

import (
	"context"
	"strings"

	"github.com/slipway-build/slipway/builder/internal/state"
)

// View is what inspect shows; its Go names and JSON keys are the contract (cli.md §10.6).
type View = state.View

// Inspect returns what inspect shows of the container.
func (c *Container) Inspect() (*View, error) { return c.rec.View() }

// Inspect returns what inspect shows of the image.
func (i *Image) Inspect(ctx context.Context, typed string) (*View, error) {
	if x := i.Index(); x != nil {
		host, err := i.s.hostImage(ctx, x, PullOptions{Policy: PullNever})
		if err != nil {
			return nil, err
		}
		return host.Inspect(ctx, typed)
	}
	cfg, err := i.Config(ctx)
	if err != nil {
		return nil, err
	}
	raw, err := i.RawConfig(ctx)
	if err != nil {
		return nil, err
	}
	man, _, err := i.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	v := state.ImageView(cfg)
	v.FromImage, v.FromImageID, v.FromImageDigest = i.s.bestName(&i.rec, strings.TrimPrefix(typed, storagePrefix)), i.ID(), i.Digest().String()
	v.Config, v.Manifest = string(raw), string(man)
	return v, nil
}

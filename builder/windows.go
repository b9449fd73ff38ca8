package builder

import (
	"context"
	"fmt"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/builder/internal/layer"
)

// ForOS returns the top layer for an image with that configuration: top itself, or for Windows one with the same diffs as Windows reads
// them, above base, the top layer of the base image, which stays as it is. While a container or a build lives its files are where
// commands and copies look for them.
func (s *Store) ForOS(ctx context.Context, cfg *config.Image, base, top string, o Output) (string, error) {
	if cfg.OS != windows {
		return top, nil
	}
	return s.forWindows(ctx, base, top, s.layerOptions(o))
}

// windows is the operating system whose layers are others.
const windows = "windows"

func (s *Store) forWindows(ctx context.Context, base, top string, lo layer.Options) (string, error) {
	chain, err := s.Layers(top)
	if err != nil {
		return "", err
	}
	parent := ""
	for i, l := range chain {
		if l.ID == base {
			parent, chain = base, chain[i+1:]
			break
		}
	}
	for _, l := range chain {
		res, err := layer.Windows(ctx, s.st, l.ID, parent, lo)
		if err != nil {
			return "", fmt.Errorf("making a layer for Windows: %w", err)
		}
		parent = res.ID
	}
	return parent, nil
}

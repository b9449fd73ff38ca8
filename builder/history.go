package builder

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
)

// A HistoryLine is an entry of an image's history with the layer that it made.
type HistoryLine struct {
	config.History
	// DiffID and Size (bytes, uncompressed) are the layer's; empty for entries that made none.
	DiffID digest.Digest
	Size   int64
}

// History returns an image's history, newest first; a list's is that of its image for this machine. Layers that no entry tells of are entries of their own.
func (i *Image) History(ctx context.Context) ([]HistoryLine, error) {
	if x := i.Index(); x != nil {
		host, err := i.s.hostImage(ctx, x, PullOptions{Policy: PullNever})
		if err != nil {
			return nil, err
		}
		return host.History(ctx)
	}
	cfg, err := i.Config(ctx)
	if err != nil {
		return nil, err
	}
	layers, err := i.s.Layers(i.rec.TopLayer)
	if err != nil {
		return nil, err
	}
	entries := cfg.History
	if filled(entries) != len(layers) {
		entries = make([]config.History, len(layers))
	}
	lines := make([]HistoryLine, len(entries))
	next := 0
	for k, h := range entries {
		l := HistoryLine{History: h}
		if !h.EmptyLayer {
			l.DiffID, l.Size = layers[next].DiffID, layers[next].Size
			next++
		}
		lines[len(entries)-1-k] = l
	}
	return lines, nil
}

package builder

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/builder/config"
)

// Keep ends the workspace and makes a working container with its files and configuration, as a build leaves the one of a step that
// failed.
func (w *Workspace) Keep(ctx context.Context, o FromOptions) (*Container, error) {
	s, cfg := w.s, w.cfg
	l, err := w.Seal(ctx, "", LayerOptions{})
	if err != nil {
		return nil, err
	}
	return s.ContainerOn(ctx, cfg, l.ID, o)
}

// ContainerOn makes a working container over a sealed layer. Containers stand on images: this one on a nameless one of
// its own, which is dangling when the container is removed.
func (s *Store) ContainerOn(ctx context.Context, cfg *config.Image, top string, o FromOptions) (*Container, error) {
	img, err := s.WriteImage(ctx, cfg, top, nil, Output{OmitHistory: true})
	if err != nil {
		return nil, err
	}
	c, err := s.From(ctx, img.ID(), o)
	if err != nil {
		return nil, errors.Join(err, s.RemoveUnnamed(ctx, img.ID()))
	}
	return c, nil
}

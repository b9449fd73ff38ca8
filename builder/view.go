package builder

import (
	"context"
	"errors"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// ViewOf calls f with the root file system of a working container or, if none has that name, of an image, which is
// pulled as o says. The root must not be used after f returns.
func (s *Store) ViewOf(ctx context.Context, name string, o PullOptions, f func(*rootfs.Root) error) error {
	c, err := s.Container(name)
	if err == nil {
		return c.View(f)
	}
	if !errors.Is(err, ErrNoContainer) {
		return err
	}
	img, err := s.Pull(ctx, name, o)
	if err != nil {
		return err
	}
	root, done, err := img.Open()
	if err != nil {
		return err
	}
	return errors.Join(f(root), done())
}

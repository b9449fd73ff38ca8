package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// ExportDir copies an image's files into a directory, which is made if need be; what else is there is removed with only. Owners that
// this process may not set are dropped.
func (s *Store) ExportDir(ctx context.Context, img *Image, dir string, only bool) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	own := rootfs.Apply
	if s.own == rootfs.Record || os.Geteuid() != 0 {
		own = rootfs.Ignore
	}
	to, err := rootfs.Open(dir, own)
	if err != nil {
		return err
	}
	defer to.Close()
	from, done, err := img.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	if only {
		if err := removeOthers(to, from, "/"); err != nil {
			return fmt.Errorf("exporting to %s: %w", dir, err)
		}
	}
	if _, err := copier.Copy(ctx, to, "/", from, []string{"."}, copier.Options{KeepOwner: true}); err != nil {
		return fmt.Errorf("exporting to %s: %w", dir, err)
	}
	return nil
}

// removeOthers removes from a directory what is not in another one, or is no directory in just one of the two.
func removeOthers(to, from *rootfs.Root, name string) error {
	d, err := to.Dir(name)
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		at := path.Join(name, n)
		have, err := d.Lstat(n)
		if err != nil {
			return err
		}
		want, err := from.Lstat(at)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
		case err != nil || have.IsDir() != want.IsDir():
			err = d.RemoveAll(n)
		case have.IsDir():
			err = removeOthers(to, from, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ExportTar writes an image's files as one tar, as if the image had one layer.
func (s *Store) ExportTar(ctx context.Context, img *Image, w io.Writer) (err error) {
	top := img.TopLayer()
	if top == "" {
		_, err := w.Write(make([]byte, 1024)) // a tar of nothing
		return err
	}
	l, err := s.layerByID(top)
	if err != nil {
		return err
	}
	if l.Parent != "" {
		start := s.o.Now()
		if l, err = s.SquashLayer(ctx, top, Output{}); err != nil {
			return err
		}
		defer func() {
			if l.Created.Before(start) {
				return // an image's or a step's, which happens to be the same
			}
			if derr := s.st.DeleteLayer(l.ID); derr != nil && !inUse(derr) {
				err = errors.Join(err, derr)
			}
		}()
	}
	plain := archive.Uncompressed
	diff, err := s.st.Diff("", l.ID, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	_, err = io.Copy(w, diff)
	return errors.Join(err, diff.Close())
}

// inUse tells whether a layer stays since an image, a container or another layer stands on it.
func inUse(err error) bool {
	return errors.Is(err, storage.ErrLayerUsedByImage) || errors.Is(err, storage.ErrLayerUsedByContainer) || errors.Is(err, storage.ErrLayerHasChildren)
}

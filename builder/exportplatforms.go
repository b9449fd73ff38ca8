package builder

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"path"
	"strings"
)

// PlatformDir names the image's platform as outputs of several name their directories: os_arch[_variant] (dockerfile.md §12).
func (i *Image) PlatformDir(ctx context.Context) (string, error) {
	cfg, err := i.Config(ctx)
	if err != nil {
		return "", err
	}
	name := strings.ReplaceAll(Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}.String(), "/", "_")
	if name == "." || name == ".." { // what an image says of itself is no path
		name = "_"
	}
	return name, nil
}

// ExportTars writes the files of several images as one tar, each below a directory named by its platform.
func (s *Store) ExportTars(ctx context.Context, images []*Image, w io.Writer) error {
	to := tar.NewWriter(w)
	for _, img := range images {
		dir, err := img.PlatformDir(ctx)
		if err != nil {
			return err
		}
		head := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: img.Created()}
		if err := to.WriteHeader(head); err != nil {
			return err
		}
		r, pw := io.Pipe()
		exported := make(chan error, 1)
		go func() {
			err := s.ExportTar(ctx, img, pw)
			exported <- errors.Join(err, pw.CloseWithError(err))
		}()
		err = moveTar(to, r, dir)
		_ = r.CloseWithError(err) // what still writes is told; a nil error is the stream's end, which it has reached
		if err := errors.Join(err, <-exported); err != nil {
			return err
		}
	}
	return to.Close()
}

// moveTar copies the entries of a tar to below a directory.
func moveTar(to *tar.Writer, r io.Reader, dir string) error {
	from := tar.NewReader(r)
	for {
		h, err := from.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		name := path.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			name += "/"
		}
		h.Name = name
		if h.Typeflag == tar.TypeLink {
			h.Linkname = path.Join(dir, h.Linkname)
		}
		h.Format = tar.FormatUnknown // whatever the longer name needs
		if err := to.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil { //nolint:gosec // the size is that of an image here
			return err
		}
	}
}

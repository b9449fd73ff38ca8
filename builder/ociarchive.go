package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/archive"
)

// An ociArchive is an image in a tar file of an OCI layout, which is unpacked to be read. The library would follow links that the archive
// has on the way, and write anywhere.
type ociArchive struct{ types.ImageReference }

// StringWithinTransport is what the user wrote: the library adds a colon to what has no name.
func (a ociArchive) StringWithinTransport() string {
	return strings.TrimSuffix(a.ImageReference.StringWithinTransport(), ":")
}

// NewImage opens the image for a look at its configuration.
func (a ociArchive) NewImage(ctx context.Context, sys *types.SystemContext) (types.ImageCloser, error) {
	return openImage(ctx, sys, a)
}

// NewImageSource unpacks the archive and opens the image.
func (a ociArchive) NewImageSource(ctx context.Context, sys *types.SystemContext) (types.ImageSource, error) {
	temp := ""
	if sys != nil {
		temp = sys.BigFilesTemporaryDir
	}
	dir, err := os.MkdirTemp(temp, "slipway-layout-")
	if err != nil {
		return nil, err
	}
	src, err := a.open(ctx, sys, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &ociArchiveSource{src, a, dir}, nil
}

func (a ociArchive) open(ctx context.Context, sys *types.SystemContext, dir string) (types.ImageSource, error) {
	file, which, _ := strings.Cut(a.StringWithinTransport(), ":")
	if err := unpackLayout(ctx, file, dir); err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", file, err)
	}
	ref, err := layout.NewReference(dir, which)
	if err != nil {
		return nil, err
	}
	src, err := ociLayout{ref}.NewImageSource(ctx, sys)
	if errors.As(err, &layout.ImageNotFoundError{}) {
		return nil, fmt.Errorf("no descriptor found for reference %q", which)
	}
	return src, err
}

// unpackLayout unpacks the directories and regular files of an archive: there is nothing else in a layout.
func unpackLayout(ctx context.Context, file, dir string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	body, err := archive.DecompressStream(f)
	if err != nil {
		return err
	}
	defer body.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(body); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = unpackEntry(root, h, r)
		}
		if err != nil {
			return err
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	switch {
	case name == "":
		return nil
	case h.Typeflag == tar.TypeDir:
		return root.MkdirAll(name, 0o700)
	case h.Typeflag != tar.TypeReg:
		return nil
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// An ociArchiveSource is an image in an archive that is unpacked.
type ociArchiveSource struct {
	types.ImageSource
	ref ociArchive
	dir string
}

// Reference is the archive's: policies are about that.
func (s *ociArchiveSource) Reference() types.ImageReference { return s.ref }

// Close removes what was unpacked.
func (s *ociArchiveSource) Close() error {
	return errors.Join(s.ImageSource.Close(), os.RemoveAll(s.dir))
}

package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/types"
)

// complete calls write with a place to write to instead of dest. An archive that is not there yet gets its name when it is whole: half of one,
// left by a killed program, would not only be in the way of the next attempt (the library does not write to a docker-archive that has content), but be taken
// for an image.
func (s *Store) complete(dest types.ImageReference, write func(types.ImageReference) error) error {
	if name := dest.Transport().Name(); name != "docker-archive" && name != "oci-archive" {
		return write(dest)
	}
	_, inside, named := strings.Cut(dest.StringWithinTransport(), ":")
	return s.completeFile(localPath(dest), func(file string) error {
		if file == localPath(dest) {
			return write(dest)
		}
		if named {
			file += ":" + inside
		}
		to, err := dest.Transport().ParseReference(file)
		if err != nil {
			return err
		}
		return write(to)
	})
}

// completeFile calls write with the name of a file, which becomes the one that is asked for. What there is already (a pipe, a file with its owner
// and mode) is written to as it is.
func (s *Store) completeFile(file string, write func(file string) error) error {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return write(file)
	}
	base, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return err
	}
	dir, done, err := s.scratchIn(base)
	if err != nil {
		return write(file) // which tells better why nothing can be written there
	}
	part := filepath.Join(dir, "archive")
	if err = write(part); err == nil {
		err = os.Rename(part, file)
	}
	return errors.Join(err, done())
}

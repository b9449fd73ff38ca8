package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containers/image/v5/copy"
	dockerarchive "github.com/containers/image/v5/docker/archive"
	"github.com/containers/image/v5/docker/reference"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
)

// Save writes images with their names to one archive: docker-archive for any number of images, oci-archive for one.
func (s *Store) Save(ctx context.Context, images []string, file, format string, report io.Writer) error {
	switch format {
	case "docker-archive":
		return s.saveDocker(ctx, images, file, report)
	case "oci-archive":
		if len(images) != 1 {
			return errors.New("an oci-archive holds one image: use docker-archive for several")
		}
		name := ""
		if img, err := s.Image(images[0]); err == nil && len(img.Names()) > 0 {
			if best := s.bestName(&img.rec, images[0]); !strings.Contains(best, "@") { // a digest may be that of a list
				name = ":" + best
			}
		}
		_, err := s.Push(ctx, images[0], "oci-archive:"+file+name, PushOptions{Report: report})
		return err
	}
	return fmt.Errorf("unknown archive format %q: docker-archive or oci-archive", format)
}

func (s *Store) saveDocker(ctx context.Context, images []string, file string, report io.Writer) error {
	var all []saved
	for _, name := range images { // before anything is written
		rec, err := s.findImage(name)
		if err != nil {
			return err
		}
		img := s.image(rec)
		if x := img.Index(); x != nil {
			if img, err = s.hostImage(ctx, x, PullOptions{}); err != nil {
				return err
			}
		}
		if all, err = withSaved(all, img, s.bestName(rec, name)); err != nil {
			return err
		}
	}
	err := s.completeFile(file, func(file string) error { return s.writeDocker(ctx, all, file, report) })
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

// A saved image is one in an archive, under any number of names.
type saved struct {
	img   *Image
	names []reference.NamedTagged
}

// withSaved adds an image to those for an archive, or, since an archive holds each once, a name ("" for none) to the one that is there.
func withSaved(all []saved, img *Image, name string) ([]saved, error) {
	i := slices.IndexFunc(all, func(one saved) bool { return one.img.ID() == img.ID() })
	if i < 0 {
		all, i = append(all, saved{img: img}), len(all)
	}
	if name == "" {
		return all, nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return all, err
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged); ok {
		all[i].names = append(all[i].names, tagged)
	}
	return all, nil
}

func (s *Store) writeDocker(ctx context.Context, all []saved, file string, report io.Writer) (err error) {
	w, err := dockerarchive.NewWriter(&s.sys, file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil { // else it says the same again
			err = cerr
		}
	}()
	for _, one := range all {
		if err := s.saveOne(ctx, w, one, report); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) saveOne(ctx context.Context, w *dockerarchive.Writer, one saved, to io.Writer) error {
	sys := s.sys
	var first reference.NamedTagged
	if len(one.names) > 0 {
		first, sys.DockerArchiveAdditionalTags = one.names[0], one.names[1:]
	}
	dest, err := w.NewReference(first)
	if err != nil {
		return err
	}
	src, err := s.storageRef(one.img.ID())
	if err != nil {
		return err
	}
	_, err = s.transfer(ctx, dest, src, Registry{}, copy.Options{SourceCtx: &s.sys, DestinationCtx: &sys, ReportWriter: report(to)})
	return err
}

// Load puts every image of an archive, or of an OCI layout's directory, into local storage under the names recorded there.
func (s *Store) Load(ctx context.Context, file string, report io.Writer) ([]*Image, error) {
	if fi, err := os.Stat(file); err != nil {
		return nil, err
	} else if fi.IsDir() {
		img, err := s.Pull(ctx, "oci:"+file, PullOptions{Report: report})
		return []*Image{img}, err
	}
	r, err := dockerarchive.NewReader(&s.sys, file)
	if err != nil {
		img, oerr := s.Pull(ctx, "oci-archive:"+file, PullOptions{Report: report})
		if oerr != nil {
			return nil, fmt.Errorf("%s is neither a docker-archive (%w) nor an oci-archive (%w)", file, err, oerr)
		}
		return []*Image{img}, nil
	}
	defer r.Close()
	list, err := r.List()
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	var all []*Image
	for _, refs := range list {
		img, err := s.loadOne(ctx, refs, report)
		if err != nil {
			return all, fmt.Errorf("reading %s: %w", file, err)
		}
		all = append(all, img)
	}
	return all, nil
}

// loadOne copies an image of an archive once and gives it all its names.
func (s *Store) loadOne(ctx context.Context, refs []types.ImageReference, to io.Writer) (*Image, error) {
	id, err := s.configID(ctx, refs[0], &s.sys)
	if err != nil {
		return nil, err
	}
	dest, err := istorage.Transport.NewStoreReference(s.st, nil, id)
	if err != nil {
		return nil, err
	}
	img, err := s.copyIn(ctx, dest, refs[0], PullOptions{Report: to})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range refs {
		if n := r.DockerReference(); n != nil {
			names = append(names, n.String())
		}
	}
	if len(names) > 0 {
		if err := s.st.AddNames(img.ID(), names); err != nil {
			return nil, fmt.Errorf("naming the image: %w", translate(err))
		}
	}
	return s.Image(img.ID())
}

package builder

import (
	"context"
	"fmt"

	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// pushHere is Push to containers-storage:NAME. An image or list that is here already gets the name, unless it is to be another one in
// storage as well; others come as a pull brings them.
func (s *Store) pushHere(ctx context.Context, source string, src types.ImageReference, dest string, o PushOptions) (digest.Digest, error) {
	if !o.Sign.none() {
		return "", fmt.Errorf("cannot sign %s: commit and build sign images in local storage, push those in registries", dest)
	}
	if len(o.Encrypt.Keys) > 0 {
		return "", fmt.Errorf("cannot encrypt %s: layers in local storage are kept unpacked", dest)
	}
	own, err := s.ownName(dest)
	if err != nil {
		return "", err
	}
	name, err := localName(own)
	if err != nil {
		return "", err
	}
	to, err := istorage.Transport.NewStoreReference(s.st, name, "")
	if err != nil {
		return "", err
	}
	if src == nil {
		return s.renamed(ctx, source, name.String(), to, o)
	}
	if o.Format != "" {
		return s.relay(ctx, src, to, o)
	}
	if err := exists(src); err != nil {
		return "", fmt.Errorf("reading image %s: %w", refText(src), err)
	}
	img, err := s.copyIn(ctx, to, src, PullOptions{Registry: o.Registry, Report: o.Report})
	if err != nil {
		return "", err
	}
	return s.written(ctx, img, o)
}

// renamed gives an image in storage a name, or copies it in another format under that name.
func (s *Store) renamed(ctx context.Context, source, name string, to types.ImageReference, o PushOptions) (digest.Digest, error) {
	rec, err := s.findImage(source)
	if err != nil {
		return "", err
	}
	img := s.image(rec)
	if o.Format != "" && img.Index() == nil {
		return o.digestOf(s.push(ctx, img, to, o, false))
	}
	if err := translate(s.st.AddNames(rec.ID, []string{name})); err != nil {
		return "", err
	}
	return s.written(ctx, img, o)
}

// written tells of an image in storage as of one that was pushed.
func (s *Store) written(ctx context.Context, img *Image, o PushOptions) (digest.Digest, error) {
	if x := img.Index(); x != nil {
		return img.Digest(), nil
	}
	raw, _, err := img.Manifest(ctx)
	return o.digestOf(raw, err)
}

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// CheckIndex says what would be wrong with a list of this name: another image that has it. An empty name is none.
func (s *Store) CheckIndex(name string) error {
	if name == "" {
		return nil
	}
	if _, err := localName(name); err != nil {
		return fmt.Errorf("manifest list %w", err)
	}
	if _, err := s.Index(name); err != nil && !errors.Is(err, ErrNoImage) {
		return fmt.Errorf("manifest list %s: %w", name, err)
	}
	return nil
}

// NewEntry is an image of a new list: its ID, and the annotations of its entry.
type NewEntry struct {
	ID          string
	Annotations map[string]string
}

// NewIndexOf makes a list of local images and gives it names (full references), which whatever has them loses.
// A list of exactly these images that has the first of the names, or no name if none is given, is kept: the same
// build gives the same list. annotations are those of the list itself.
func (s *Store) NewIndexOf(ctx context.Context, images []NewEntry, names []string, annotations map[string]string) (*Index, error) {
	want := &Index{s: s, list: manifest.NewIndex(), where: map[digest.Digest]string{}}
	for _, e := range images {
		found, err := s.membersOf(ctx, e.ID, EntryOptions{})
		if err != nil {
			return nil, err
		}
		want.add(found, EntryOptions{Annotations: e.Annotations})
	}
	lock, err := s.lockIndexes()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	want.list.Annotations = merged(want.list.Annotations, annotations)
	raw, err := want.JSON()
	if err != nil {
		return nil, err
	}
	x, err := s.sameIndex(raw, names)
	if err != nil {
		return nil, err
	}
	if x == nil {
		if x, err = s.storeIndex(want, names); err != nil {
			return nil, err
		}
	} else if len(names) > 0 {
		if err := s.st.AddNames(x.rec.ID, names); err != nil {
			return nil, fmt.Errorf("naming manifest list %s: %w", x.rec.ID, translate(err))
		}
	}
	return s.Index(x.rec.ID)
}

// sameIndex returns a list of this content, that has the first of names or is as nameless as it will be, or nil.
func (s *Store) sameIndex(raw []byte, names []string) (*Index, error) {
	recs, err := s.st.ImagesByDigest(digest.FromBytes(raw))
	if err != nil {
		return nil, fmt.Errorf("looking for a manifest list: %w", err)
	}
	for _, rec := range recs {
		x, err := s.index(rec)
		if err != nil {
			continue // not a list
		}
		have, err := x.JSON()
		fits := len(names) == 0 && len(rec.Names) == 0 || len(names) > 0 && slices.Contains(rec.Names, names[0])
		if err == nil && fits && bytes.Equal(have, raw) {
			return x, nil
		}
	}
	return nil, nil
}

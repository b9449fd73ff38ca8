package builder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// IndexOptions controls making a list.
type IndexOptions struct {
	// Amend goes on with a list of that name, Replace takes the name away from whatever has it.
	Amend, Replace bool
	// Annotations are set on the list.
	Annotations map[string]string
	Entry       EntryOptions
}

// EntryOptions says what an entry of a list tells of its image. What is empty is taken from the image.
type EntryOptions struct {
	// All takes every image of a list that is added, not only the host's.
	All      bool
	Platform Platform
	// OSVersion, OSFeatures and Features refine the platform; Annotations are those of the entry.
	OSVersion            string
	OSFeatures, Features []string
	Annotations          map[string]string
	Registry             Registry
}

// set writes what o says into an entry.
func (o *EntryOptions) set(e *manifest.Entry) {
	p := manifest.Platform{}
	if e.Platform != nil {
		p = *e.Platform
	}
	override(&p.OS, o.Platform.OS)
	override(&p.Architecture, o.Platform.Arch)
	override(&p.Variant, o.Platform.Variant)
	override(&p.OSVersion, o.OSVersion)
	if len(o.OSFeatures) > 0 {
		p.OSFeatures = o.OSFeatures
	}
	if len(o.Features) > 0 {
		p.Features = o.Features
	}
	if p.OS != "" || p.Architecture != "" {
		e.Platform = &p
	}
	e.Annotations = merged(e.Annotations, o.Annotations)
}

func override(p *string, value string) {
	if value != "" {
		*p = value
	}
}

// merged returns the union of two maps, nil if there is nothing in it; the second one wins.
func merged(a, b map[string]string) map[string]string {
	if len(a)+len(b) == 0 {
		return nil
	}
	m := maps.Clone(a)
	if m == nil {
		m = map[string]string{}
	}
	maps.Copy(m, b)
	return m
}

// CreateIndex makes a list of images (names in storage, or elsewhere: nothing is pulled) and returns it. The error is
// ErrNameInUse if something has the name and o does not say what is to become of it.
func (s *Store) CreateIndex(ctx context.Context, name string, images []string, o IndexOptions) (*Index, error) {
	if o.Amend && o.Replace {
		return nil, errors.New("amend and replace are mutually exclusive")
	}
	full, err := localName(name)
	if err != nil {
		return nil, fmt.Errorf("manifest list %w", err)
	}
	found, err := s.members(ctx, images, o.Entry)
	if err != nil {
		return nil, err
	}
	lock, err := s.lockIndexes()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	x, err := s.openOrMake(ctx, full.String(), o)
	if err != nil {
		return nil, err
	}
	x.list.Annotations = merged(x.list.Annotations, o.Annotations)
	x.add(found, EntryOptions{Annotations: o.Entry.Annotations})
	return x, x.save()
}

// openOrMake returns the list of that name, which is new unless o.Amend. An ordinary image that has the name becomes the first member
// when amending (exact.md §12.1).
func (s *Store) openOrMake(ctx context.Context, name string, o IndexOptions) (*Index, error) {
	old, err := s.st.Image(name)
	if err != nil || o.Replace {
		return s.newIndex(name)
	}
	if !o.Amend {
		return nil, fmt.Errorf("%s: %w", name, ErrNameInUse)
	}
	if x, err := s.index(old); err == nil {
		return x, nil
	}
	first, err := s.localMember(ctx, s.image(old))
	if err != nil {
		return nil, err
	}
	x, err := s.newIndex(name)
	if err == nil {
		x.add([]member{first}, EntryOptions{})
	}
	return x, err
}

// AddToIndex adds images, as CreateIndex finds them, to a list and returns it with the digest of the last one, empty if
// all were lists without entries. With create, a list that is not there is made.
func (s *Store) AddToIndex(ctx context.Context, name string, images []string, o EntryOptions, create bool) (*Index, digest.Digest, error) {
	found, err := s.members(ctx, images, o)
	if err != nil {
		return nil, "", err
	}
	if create {
		if _, err := s.findImage(name); errors.Is(err, ErrNoImage) {
			if _, err := s.CreateIndex(ctx, name, nil, IndexOptions{Amend: true}); err != nil {
				return nil, "", err
			}
		}
	}
	x, err := s.editIndex(name, func(x *Index) error { x.add(found, o); return nil })
	if err != nil {
		return nil, "", err
	}
	return x, last(found), nil
}

// last is the digest of the last member, empty where there is none: a list with nothing in it was added with all that it has.
func last(found []member) digest.Digest {
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1].Digest
}

func (x *Index) add(found []member, o EntryOptions) {
	for _, m := range found {
		o.set(&m.Entry)
		x.list.Set(m.Entry)
		x.where[m.Digest] = m.where
	}
}

// AnnotateIndex changes what a list says of an entry, which is named by its digest, its image or a file of its
// artifact, and returns the digest of that entry.
func (s *Store) AnnotateIndex(ctx context.Context, name, entry string, o EntryOptions) (*Index, digest.Digest, error) {
	var found digest.Digest
	x, err := s.editIndex(name, func(x *Index) (err error) {
		if found, err = x.entry(ctx, entry, o.Registry); err != nil {
			return err
		}
		o.set(x.list.Find(found))
		return nil
	})
	return x, found, err
}

// AnnotateWhole changes what a list says of itself: annotations, and the image that it is about if subject is not empty.
func (s *Store) AnnotateWhole(ctx context.Context, name string, annotations map[string]string, subject string, r Registry) (*Index, error) {
	return s.editIndex(name, func(x *Index) error {
		x.list.Annotations = merged(x.list.Annotations, annotations)
		if subject == "" {
			return nil
		}
		e, err := s.descriptor(ctx, subject, r)
		x.list.Subject = e
		return err
	})
}

// descriptor describes the manifest of an image without looking into it.
func (s *Store) descriptor(ctx context.Context, image string, r Registry) (*manifest.Entry, error) {
	found, err := s.members(ctx, []string{image}, EntryOptions{Registry: r})
	if err != nil {
		return nil, err
	}
	e := found[0].Entry
	return &manifest.Entry{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size}, nil
}

// RemoveFromIndex takes an entry out of a list; it is named as for AnnotateIndex.
func (s *Store) RemoveFromIndex(ctx context.Context, name, entry string) (*Index, digest.Digest, error) {
	var found digest.Digest
	x, err := s.editIndex(name, func(x *Index) (err error) {
		if found, err = x.entry(ctx, entry, Registry{}); err != nil {
			return err
		}
		x.list.Remove(found)
		return nil
	})
	return x, found, err
}

// entry finds the digest of the entry that the user means.
func (x *Index) entry(ctx context.Context, text string, r Registry) (digest.Digest, error) {
	if d, err := digest.Parse(text); err == nil {
		if x.list.Find(d) == nil {
			return "", fmt.Errorf("no entry %s in manifest list %s", d, x.rec.ID)
		}
		return d, nil
	}
	if d := x.artifactOf(text); d != "" {
		return d, nil
	}
	if img, err := x.s.findImage(text); err == nil {
		for _, e := range x.list.Manifests {
			if slices.Contains(img.Digests, e.Digest) {
				return e.Digest, nil
			}
		}
		if !x.s.isIndex(img) {
			return "", fmt.Errorf("image %s is not in manifest list %s", text, x.rec.ID)
		}
	}
	found, err := x.s.members(ctx, []string{text}, EntryOptions{All: true, Registry: r})
	if err != nil {
		return "", err
	}
	for _, m := range found {
		if x.list.Find(m.Digest) != nil {
			return m.Digest, nil
		}
	}
	return "", fmt.Errorf("image %s is not in manifest list %s", text, x.rec.ID)
}

// artifactOf returns the digest of the artifact that holds a file, "" if none does.
func (x *Index) artifactOf(file string) digest.Digest {
	path, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	for _, e := range x.list.Manifests {
		a, err := x.artifact(e.Digest)
		if err != nil {
			continue
		}
		for _, p := range a.Files {
			if p == path {
				return e.Digest
			}
		}
	}
	return ""
}

package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// artifactPrefix begins the big data items of a list that hold its artifacts' manifests.
const artifactPrefix = "slipway-artifact-"

// ArtifactOptions controls making an artifact of files.
type ArtifactOptions struct {
	// Type is the artifact's; ConfigType and Config (a file) describe its configuration; LayerType is that of each file, guessed when empty.
	Type, Config, ConfigType, LayerType string
	// NoTitles leaves the names of the files out.
	NoTitles bool
	// Subject is the image that the artifact is about.
	Subject string
	// Annotations are those of the artifact's manifest.
	Annotations map[string]string
}

// An artifact is what a list keeps of an artifact: the files stay where they are until the list is pushed, and must not change.
type artifact struct {
	Manifest []byte                   `json:"manifest"`
	Config   []byte                   `json:"config"`
	Files    map[digest.Digest]string `json:"files"`
}

// AddArtifact makes one artifact of files and adds it to a list.
func (s *Store) AddArtifact(ctx context.Context, name string, files []string, a ArtifactOptions, o EntryOptions) (*Index, digest.Digest, error) {
	art, entry, err := s.newArtifact(ctx, files, a, o.Registry)
	if err != nil {
		return nil, "", err
	}
	blob, err := json.Marshal(art)
	if err != nil {
		return nil, "", err
	}
	x, err := s.editIndex(name, func(x *Index) error {
		o.set(&entry)
		x.list.Set(entry)
		return s.st.SetImageBigData(x.rec.ID, artifactPrefix+entry.Digest.Encoded(), blob, nil)
	})
	return x, entry.Digest, err
}

func (s *Store) newArtifact(ctx context.Context, files []string, a ArtifactOptions, r Registry) (*artifact, manifest.Entry, error) {
	art := &artifact{Config: []byte("{}"), Files: map[digest.Digest]string{}}
	doc := manifest.Artifact{Type: a.Type, ConfigType: a.ConfigType, Annotations: a.Annotations}
	var err error
	if a.Config != "" {
		if art.Config, err = os.ReadFile(a.Config); err != nil {
			return nil, manifest.Entry{}, fmt.Errorf("reading artifact configuration: %w", err)
		}
	}
	if a.Subject != "" {
		if doc.Subject, err = s.descriptor(ctx, a.Subject, r); err != nil {
			return nil, manifest.Entry{}, err
		}
	}
	for _, f := range files {
		l, path, err := describeFile(f, a)
		if err != nil {
			return nil, manifest.Entry{}, fmt.Errorf("adding %s: %w", f, err)
		}
		art.Files[l.Digest] = path
		doc.Layers = append(doc.Layers, l)
	}
	raw, entry, err := doc.Build(art.Config)
	art.Manifest = raw
	return art, entry, err
}

// describeFile reads a file once and returns its descriptor and absolute path.
func describeFile(name string, a ArtifactOptions) (manifest.Entry, string, error) {
	path, err := filepath.Abs(name)
	if err != nil {
		return manifest.Entry{}, "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return manifest.Entry{}, "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return manifest.Entry{}, "", fmt.Errorf("not a regular file")
	}
	var head bytes.Buffer
	if _, err := io.CopyN(&head, f, 512); err != nil && err != io.EOF { //nolint:errorlint // CopyN returns it as it is
		return manifest.Entry{}, "", err
	}
	sum := digest.Canonical.Digester()
	n, err := io.Copy(sum.Hash(), io.MultiReader(bytes.NewReader(head.Bytes()), f))
	if err != nil {
		return manifest.Entry{}, "", err
	}
	e := manifest.Entry{MediaType: a.LayerType, Digest: sum.Digest(), Size: n}
	if e.MediaType == "" {
		e.MediaType, _, _ = strings.Cut(http.DetectContentType(head.Bytes()), ";")
	}
	if !a.NoTitles {
		e.Annotations = map[string]string{"org.opencontainers.image.title": filepath.Base(path)}
	}
	return e, path, nil
}

// artifact returns what is kept of an artifact in the list; the error is storage's when the entry is none.
func (x *Index) artifact(d digest.Digest) (*artifact, error) {
	blob, err := x.s.st.ImageBigData(x.rec.ID, artifactPrefix+d.Encoded())
	if err != nil {
		return nil, err
	}
	var a artifact
	if err := json.Unmarshal(blob, &a); err != nil {
		return nil, fmt.Errorf("reading artifact %s: %w", d, err)
	}
	return &a, nil
}

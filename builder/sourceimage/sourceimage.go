// Package sourceimage makes source images: OCI layouts whose image holds sources instead of a root file system. Its
// configuration has a type of its own, so that nobody takes it for something to run, and each layer is one thing that was added. They
// are made in a directory and pushed and pulled like other images (cli.md §13.5). The family's layout is kept byte for byte where it matters:
// types, one manifest in the index, no platform.
package sourceimage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/flock"
)

// ConfigType is the media type of a source image's configuration.
const ConfigType = "application/vnd.oci.source.image.config.v1+json"

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
	indexType    = "application/vnd.oci.image.index.v1+json"
	layoutFile   = `{"imageLayoutVersion":"1.0.0"}`
	maxDocument  = 4 << 20 // bytes, of an index or a manifest
)

// A Config is the configuration of a source image.
type Config struct {
	Created *time.Time `json:"created,omitempty"`
	Author  string     `json:"author,omitempty"`
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

// Create makes an empty source image in dir, which must not exist yet.
func Create(dir string, c Config) (err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%q already exists", dir)
		}
		return fmt.Errorf("creating source image: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("creating source image: %w", errors.Join(err, os.RemoveAll(dir)))
		}
	}()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return err
	}
	blob, err := json.Marshal(c)
	if err != nil {
		return err
	}
	l := layout{dir}
	config, err := l.put(blob, ConfigType)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(layoutFile), 0o644); err != nil {
		return err
	}
	return l.save(document{SchemaVersion: 2, MediaType: manifestType, Config: config})
}

// Add puts a file, or the content of a directory, into the source image in dir, as one layer with annotations. Owners are not kept.
func Add(dir, path string, annotations map[string]string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("adding %s to source image %s: %w", path, dir, err)
		}
	}()
	l := layout{dir}
	if _, err := l.load(); err != nil {
		return err
	}
	layer, err := l.pack(path)
	if err != nil {
		return err
	}
	layer.Annotations = maps.Clone(annotations)
	lock, err := flock.Acquire(filepath.Join(dir, "index.json.lock"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Remove()) }()
	doc, err := l.load() // again: two may add at the same time
	if err != nil {
		return err
	}
	doc.Layers = append(doc.Layers, layer)
	return l.save(doc)
}

// Check fails if a manifest is not a source image's.
func Check(manifest []byte) error {
	var doc document
	if err := json.Unmarshal(manifest, &doc); err != nil {
		return fmt.Errorf("reading manifest: %w", err)
	}
	if doc.Config.MediaType != ConfigType {
		return fmt.Errorf("not a source image: its configuration has the type %q", doc.Config.MediaType)
	}
	return nil
}

// A layout is a directory with a source image.
type layout struct{ dir string }

func (l layout) blob(d digest.Digest) string {
	return filepath.Join(l.dir, "blobs", "sha256", d.Encoded())
}

// load reads the manifest of the only image.
func (l layout) load() (document, error) {
	var x index
	var doc document
	if err := read(filepath.Join(l.dir, "index.json"), &x); err != nil {
		return doc, err
	}
	if len(x.Manifests) != 1 {
		return doc, fmt.Errorf("not a source image: %d manifests instead of one", len(x.Manifests))
	}
	d := x.Manifests[0].Digest
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return doc, fmt.Errorf("not a source image: manifest %q", d)
	}
	if err := read(l.blob(d), &doc); err != nil {
		return doc, err
	}
	if doc.Config.MediaType != ConfigType {
		return doc, fmt.Errorf("not a source image: its configuration has the type %q", doc.Config.MediaType)
	}
	return doc, nil
}

func read(name string, into any) error {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // no pipe is waited for
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return errors.Join(err, fmt.Errorf("%s is not a regular file", name))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return fmt.Errorf("%s is larger than %d bytes", name, maxDocument)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// save writes a manifest and makes it the image's. The former one goes: nothing names it any more.
func (l layout) save(doc document) error {
	var old index
	_ = read(filepath.Join(l.dir, "index.json"), &old) // a new one has none
	raw, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	d, err := l.put(raw, manifestType)
	if err != nil {
		return err
	}
	if err := l.name(d); err != nil {
		return err
	}
	for _, m := range old.Manifests {
		if m.Digest.Validate() == nil && m.Digest != d.Digest {
			_ = os.Remove(l.blob(m.Digest)) // only room is lost if it stays
		}
	}
	return nil
}

// name makes a manifest the only one.
func (l layout) name(d descriptor) error {
	text, err := json.Marshal(index{SchemaVersion: 2, MediaType: indexType, Manifests: []descriptor{d}})
	if err != nil {
		return err
	}
	name := filepath.Join(l.dir, "index.json")
	if err := os.WriteFile(name+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// Settle makes a directory that an image library has written what it was where it was pushed from, byte for byte.
func Settle(dir string) error {
	l := layout{dir}
	var x index
	if err := read(filepath.Join(dir, "index.json"), &x); err != nil {
		return err
	}
	if len(x.Manifests) != 1 {
		return fmt.Errorf("not a source image: %d manifests instead of one", len(x.Manifests))
	}
	d := x.Manifests[0]
	return l.name(descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
}

// put writes a blob and describes it.
func (l layout) put(content []byte, mediaType string) (descriptor, error) {
	d := descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
	return d, os.WriteFile(l.blob(d.Digest), content, 0o644)
}

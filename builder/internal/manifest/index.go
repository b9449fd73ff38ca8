package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
)

const ociImage = "application/vnd.oci.image.manifest.v1+json"

// The media types of lists.
const (
	OCIIndex   = "application/vnd.oci.image.index.v1+json"
	DockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// MaxIndex bounds the size of a list, in bytes, as registries do.
const MaxIndex = 4 << 20

// A Platform says what an image of a list is for. Values are kept as typed.
type Platform struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
	Features     []string `json:"features,omitempty"` // Docker's lists only
}

// An Entry names one image, artifact or further list.
type Entry struct {
	MediaType    string            `json:"mediaType"`
	Digest       digest.Digest     `json:"digest"`
	Size         int64             `json:"size"` // of the manifest, in bytes
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// An Index is an OCI image index or a Docker manifest list.
type Index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Manifests     []Entry           `json:"manifests"`
	Subject       *Entry            `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// NewIndex returns an empty OCI index.
func NewIndex() *Index {
	return &Index{SchemaVersion: 2, MediaType: OCIIndex, Manifests: []Entry{}}
}

// IsIndex tells whether a media type is that of a list.
func IsIndex(mediaType string) bool { return mediaType == OCIIndex || mediaType == DockerList }

// ParseIndex reads a list. It may come from a registry: every digest is checked for form.
func ParseIndex(raw []byte) (*Index, error) {
	if len(raw) > MaxIndex {
		return nil, fmt.Errorf("manifest list of %d bytes is too large", len(raw))
	}
	var x Index
	if err := json.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("reading manifest list: %w", err)
	}
	if x.MediaType == "" { // optional there, and in images: those have no list
		x.MediaType = OCIIndex
		if x.Manifests == nil {
			x.MediaType = ociImage
		}
	}
	if !IsIndex(x.MediaType) {
		return nil, fmt.Errorf("manifest is of type %s (not a list type)", x.MediaType)
	}
	for _, e := range x.Manifests {
		if err := e.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("reading manifest list: entry %q: %w", e.Digest, err)
		}
		if e.Size < 0 {
			return nil, fmt.Errorf("reading manifest list: entry %s has a negative size", e.Digest)
		}
	}
	if x.Manifests == nil {
		x.Manifests = []Entry{}
	}
	return &x, nil
}

// JSON writes the list; the same list always gives the same bytes.
func (x *Index) JSON() ([]byte, error) {
	raw, err := json.Marshal(x)
	if err != nil {
		return nil, fmt.Errorf("writing manifest list: %w", err)
	}
	if len(raw) > MaxIndex {
		return nil, fmt.Errorf("the manifest list would have %d bytes, registries take %d", len(raw), MaxIndex)
	}
	return raw, nil
}

// Find returns the entry of a digest, nil if there is none.
func (x *Index) Find(d digest.Digest) *Entry {
	for i := range x.Manifests {
		if x.Manifests[i].Digest == d {
			return &x.Manifests[i]
		}
	}
	return nil
}

// Set adds an entry, or replaces the one of the same digest.
func (x *Index) Set(e Entry) {
	if old := x.Find(e.Digest); old != nil {
		*old = e
		return
	}
	x.Manifests = append(x.Manifests, e)
}

// Remove takes the entry of a digest out and tells whether it was there.
func (x *Index) Remove(d digest.Digest) bool {
	n := len(x.Manifests)
	x.Manifests = slices.DeleteFunc(x.Manifests, func(e Entry) bool { return e.Digest == d })
	return len(x.Manifests) < n
}

// ErrNoPlatform says that a list has no image for the platform asked for.
var ErrNoPlatform = errors.New("no image found in image index")

// Choose returns the first entry for a platform. Empty parts mean the host's, an empty variant accepts every one.
func (x *Index) Choose(system, arch, variant string) (*Entry, error) {
	if system == "" {
		system = "linux"
	}
	if arch == "" {
		arch = runtime.GOARCH
	}
	for i := range x.Manifests {
		p := x.Manifests[i].Platform
		if p != nil && p.OS == system && p.Architecture == arch && (variant == "" || p.Variant == variant) {
			return &x.Manifests[i], nil
		}
	}
	return nil, fmt.Errorf("%w for architecture %q, variant %q, OS %q", ErrNoPlatform, arch, variant, system)
}

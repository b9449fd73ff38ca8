package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// The types of an artifact that says nothing else.
const (
	UnknownArtifact = "application/vnd.unknown.artifact.v1"
	EmptyConfig     = "application/vnd.oci.empty.v1+json"
)

// An Artifact is a manifest that names files instead of layers.
type Artifact struct {
	Type, ConfigType string // empty: unknown, and the empty configuration
	Layers           []Entry
	Subject          *Entry
	Annotations      map[string]string
}

// Build writes the manifest of an artifact with that configuration, and its entry for a list (exact.md §12.4).
func (a *Artifact) Build(config []byte) ([]byte, Entry, error) {
	kind, configType := a.Type, a.ConfigType
	if kind == "" {
		kind = UnknownArtifact
	}
	if configType == "" {
		configType = EmptyConfig
	}
	doc := struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        descriptor        `json:"config"`
		Layers        []Entry           `json:"layers"`
		Subject       *Entry            `json:"subject,omitempty"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, ociImage, kind, descriptor{configType, digest.FromBytes(config), int64(len(config))},
		a.Layers, a.Subject, a.Annotations}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, Entry{}, fmt.Errorf("writing artifact manifest: %w", err)
	}
	return raw, Entry{MediaType: doc.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)), ArtifactType: kind}, nil
}

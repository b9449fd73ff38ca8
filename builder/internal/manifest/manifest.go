// Package manifest turns an image configuration and a list of layers into the two blobs of an image,
// OCI's or Docker's. It is pure; storing them is package builder's work.
package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/config"
)

// Format is the family of the blobs.
type Format int

// The formats.
const (
	OCI Format = iota
	Docker
)

// A Layer is described uncompressed, as local storage keeps it (exact.md §8.10).
type Layer struct {
	DiffID digest.Digest
	Size   int64 // of the tar, in bytes
}

// Blobs are a configuration and the manifest that names it.
type Blobs struct {
	Config, Manifest             []byte
	ConfigDigest, ManifestDigest digest.Digest
	MediaType                    string // of the manifest
}

type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// The media types of a format: manifest, config, layer.
func mediaTypes(f Format) (manifest, config, layer string) {
	if f == Docker {
		return "application/vnd.docker.distribution.manifest.v2+json",
			"application/vnd.docker.container.image.v1+json", "application/vnd.docker.image.rootfs.diff.tar"
	}
	return ociImage,
		"application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"
}

// Build writes the blobs. Layers must be those of img.RootFS, and history, where there is any, must have
// one entry that is not empty for each (containers.md §11.3).
func Build(f Format, img *config.Image, layers []Layer) (Blobs, error) {
	if err := check(img, layers); err != nil {
		return Blobs{}, err
	}
	marshal := img.OCI
	if f == Docker {
		marshal = img.Docker
	}
	cfg, err := marshal()
	if err != nil {
		return Blobs{}, fmt.Errorf("writing image configuration: %w", err)
	}
	manifestType, configType, layerType := mediaTypes(f)
	doc := document{SchemaVersion: 2, MediaType: manifestType, Layers: []descriptor{},
		Config: descriptor{configType, digest.FromBytes(cfg), int64(len(cfg))}}
	for _, l := range layers {
		doc.Layers = append(doc.Layers, descriptor{layerType, l.DiffID, l.Size})
	}
	if f == OCI {
		doc.Annotations = img.Annotations
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return Blobs{}, fmt.Errorf("writing manifest: %w", err)
	}
	return Blobs{cfg, raw, doc.Config.Digest, digest.FromBytes(raw), manifestType}, nil
}

func check(img *config.Image, layers []Layer) error {
	if len(img.RootFS.DiffIDs) != len(layers) {
		return fmt.Errorf("image configuration names %d layers, there are %d", len(img.RootFS.DiffIDs), len(layers))
	}
	for i, l := range layers {
		if img.RootFS.DiffIDs[i] != l.DiffID {
			return fmt.Errorf("layer %d is %s, image configuration says %s", i, l.DiffID, img.RootFS.DiffIDs[i])
		}
	}
	full := 0
	for _, h := range img.History {
		if !h.EmptyLayer {
			full++
		}
	}
	if len(img.History) > 0 && full != len(layers) {
		return fmt.Errorf("history tells of %d layers, there are %d", full, len(layers))
	}
	return nil
}

package tree

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Config is the "config" object of an image's configuration.
type Config map[string]any

// descriptor points at a blob of a layout.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type imageManifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// Layout writes an OCI image layout of one image with the tag "latest" to dir,
// which is made: one gzip layer for each tree. The same input gives the same
// bytes.
func Layout(dir string, config Config, layers ...Tree) error {
	var diffIDs []string
	var blobs []descriptor
	history := []map[string]any{}
	for i, layer := range layers {
		var plain, packed bytes.Buffer
		if err := layer.Tar(&plain); err != nil {
			return err
		}
		diffIDs = append(diffIDs, digestOf(plain.Bytes()))
		zw := gzip.NewWriter(&packed)
		if _, err := zw.Write(plain.Bytes()); err != nil {
			return err
		}
		if err := zw.Close(); err != nil {
			return err
		}
		d, err := writeBlob(dir, layerType, packed.Bytes())
		if err != nil {
			return err
		}
		blobs = append(blobs, d)
		history = append(history, map[string]any{"created": created, "created_by": fmt.Sprintf("layer %d of a test tree", i)})
	}
	image := map[string]any{
		"created": created, "architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}, "history": history,
	}
	return writeIndex(dir, image, blobs)
}

const created = "2001-09-09T01:46:40Z"

// writeIndex writes what stands above the layers.
func writeIndex(dir string, image any, layers []descriptor) error {
	config, err := writeJSON(dir, configType, image)
	if err != nil {
		return err
	}
	m, err := writeJSON(dir, manifestType, imageManifest{2, manifestType, config, layers})
	if err != nil {
		return err
	}
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": "latest"}
	top, err := json.Marshal(index{2, indexType, []descriptor{m}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), top, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func writeJSON(dir, mediaType string, v any) (descriptor, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return writeBlob(dir, mediaType, body)
}

func writeBlob(dir, mediaType string, body []byte) (descriptor, error) {
	digest := digestOf(body)
	name := blobPath(dir, digest)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return descriptor{}, err
	}
	return descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(body))}, os.WriteFile(name, body, 0o644)
}

func blobPath(dir, digest string) string {
	return filepath.Join(dir, "blobs", "sha256", digest[len("sha256:"):])
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

package builder

import (
	"context"
	"encoding/json"
	"fmt"

	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/opencontainers/go-digest"
)

// Committed tells what a commit or push wrote.
type Committed struct {
	// Config is the digest of the image's configuration: in local storage, its ID.
	Config    digest.Digest
	MediaType string        // of the manifest
	Digest    digest.Digest // of the manifest
	Size      int64         // of the manifest, in bytes
}

// DescribeManifest describes the manifest of an image that was written somewhere.
func DescribeManifest(raw []byte) (*Committed, error) {
	mediaType := cmanifest.GuessMIMEType(raw)
	m, err := cmanifest.FromBlob(raw, mediaType)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest just written: %w", err)
	}
	d, err := cmanifest.Digest(raw)
	return &Committed{m.ConfigInfo().Digest, mediaType, d, int64(len(raw))}, err
}

// Committed describes an image in local storage as it was written.
func (i *Image) Committed(ctx context.Context) (*Committed, error) {
	raw, _, err := i.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	return DescribeManifest(raw)
}

// Metadata is the content of a metadata file (cli.md §11.6).
func (c *Committed) Metadata() ([]byte, error) {
	return json.Marshal(map[string]any{
		"containerimage.config.digest": c.Config,
		"containerimage.digest":        c.Digest,
		"containerimage.descriptor":    map[string]any{"mediaType": c.MediaType, "digest": c.Digest, "size": c.Size},
	})
}

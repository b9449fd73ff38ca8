package builder

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	cmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
)

// blobsKey is the big data item of a layer in which it is remembered as what blobs the layer has been seen in registries.
// Without it a second push would compress and send everything again: storage keeps layers unpacked. It dies with the layer.
const blobsKey = "slipway-blobs"

// Bounds on what is remembered for a layer; the oldest go first.
const (
	maxBlobs  = 6
	maxPlaces = 12
)

// A blob is one compressed form of a layer.
type blob struct {
	Digest    digest.Digest `json:"digest"`
	Algorithm string        `json:"algorithm"` // gzip, zstd or zstd:chunked
	Places    []string      `json:"places"`    // registry/repository, newest last
	// Annotations are what makes a blob zstd:chunked: the digest of its table of contents, and where that is.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// blobs returns what is remembered of the layers with that content, newest last.
func (s *Store) blobs(diffID digest.Digest) []blob {
	layers, err := s.st.LayersByUncompressedDigest(diffID)
	if err != nil {
		return nil
	}
	var all []blob
	for i := range layers {
		all = append(all, s.layerBlobs(layers[i].ID)...)
	}
	return all
}

func (s *Store) layerBlobs(id string) []blob {
	f, err := s.st.LayerBigData(id, blobsKey)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []blob
	if json.NewDecoder(f).Decode(&list) != nil {
		return nil // ours to lose: nothing depends on it
	}
	return slices.DeleteFunc(list, func(b blob) bool { return b.Digest.Validate() != nil })
}

// remember notes that the layers of an image are in a repository as a manifest there says. It is a help for later and never fails.
func (s *Store) remember(img *storage.Image, raw []byte, place string, made map[digest.Digest]bool) {
	chain, err := s.Layers(img.TopLayer)
	if err == nil {
		s.rememberChain(chain, 0, raw, place, made)
	}
}

// rememberChain notes where layers are: those of a manifest's but for the uppermost others. Which of the blobs were made here tells whether
// tables of contents are to be believed: others' may tell of other files than their blobs have.
func (s *Store) rememberChain(chain []*Layer, others int, raw []byte, place string, made map[digest.Digest]bool) {
	m, err := cmanifest.FromBlob(raw, cmanifest.GuessMIMEType(raw))
	if err != nil {
		return
	}
	infos := m.LayerInfos()
	if len(infos) != len(chain)+others {
		return
	}
	for i, l := range chain {
		alg := algorithmOf(infos[i].BlobInfo)
		if alg == "" || infos[i].Digest == l.DiffID {
			continue
		}
		old := s.layerBlobs(l.ID)
		b := blob{infos[i].Digest, alg, []string{place}, chunkedAnnotations(infos[i].Annotations)}
		if alg == chunked && !made[b.Digest] && !slices.ContainsFunc(old, b.same) {
			continue
		}
		list := withBlob(old, b)
		if data, err := json.Marshal(list); err == nil && !slices.EqualFunc(old, list, equalBlobs) {
			if err := s.st.SetLayerBigData(l.ID, blobsKey, bytes.NewReader(data)); err != nil {
				s.o.Log.Debug("remembering a layer's blob", "layer", l.ID, "error", err)
			}
		}
	}
}

// same tells whether both are the same blob, described in the same way.
func (b blob) same(other blob) bool {
	return b.Digest == other.Digest && b.Algorithm == other.Algorithm && maps.Equal(b.Annotations, other.Annotations)
}

func equalBlobs(a, b blob) bool { return a.same(b) && slices.Equal(a.Places, b.Places) }

// withBlob adds a blob, or its place to the same blob, as the newest.
func withBlob(list []blob, b blob) []blob {
	var kept []blob
	for _, old := range list {
		if old.Digest != b.Digest {
			kept = append(kept, old)
			continue
		}
		places := slices.DeleteFunc(slices.Clone(old.Places), func(p string) bool { return slices.Contains(b.Places, p) })
		b.Places = append(places, b.Places...)
	}
	b.Places = b.Places[max(0, len(b.Places)-maxPlaces):]
	kept = append(kept, b)
	return kept[max(0, len(kept)-maxBlobs):]
}

// algorithmOf returns what a descriptor says of a blob's compression: gzip, zstd, zstd:chunked, or "" for the rest.
func algorithmOf(info types.BlobInfo) string {
	switch info.MediaType {
	case "application/vnd.oci.image.layer.v1.tar+gzip", cmanifest.DockerV2Schema2LayerMediaType:
		return "gzip"
	case "application/vnd.oci.image.layer.v1.tar+zstd":
		if chunkedAnnotations(info.Annotations) != nil {
			return chunked
		}
		return "zstd"
	}
	return ""
}

// chunked is zstd with a table of contents, which annotations in the manifest point to.
const (
	chunked       = "zstd:chunked"
	chunkedPrefix = "io.github.containers.zstd-chunked."
)

// chunkedAnnotations returns those that make a blob zstd:chunked, nil if there are none.
func chunkedAnnotations(all map[string]string) map[string]string {
	var found map[string]string
	for k, v := range all {
		if strings.HasPrefix(k, chunkedPrefix) {
			if found == nil {
				found = map[string]string{}
			}
			found[k] = v
		}
	}
	return found
}

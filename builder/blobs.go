package builder

import (
	"bytes"
	"encoding/json"
	"slices"

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
	Algorithm string        `json:"algorithm"` // gzip or zstd
	Places    []string      `json:"places"`    // registry/repository, newest last
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
func (s *Store) remember(img *storage.Image, raw []byte, place string) {
	chain, err := s.Layers(img.TopLayer)
	if err == nil {
		s.rememberChain(chain, 0, raw, place)
	}
}

// rememberChain notes where layers are: those of a manifest's but for the uppermost others.
func (s *Store) rememberChain(chain []*Layer, others int, raw []byte, place string) {
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
		list := withBlob(old, blob{infos[i].Digest, alg, []string{place}})
		if data, err := json.Marshal(list); err == nil && !slices.EqualFunc(old, list, equalBlobs) {
			if err := s.st.SetLayerBigData(l.ID, blobsKey, bytes.NewReader(data)); err != nil {
				s.o.Log.Debug("remembering a layer's blob", "layer", l.ID, "error", err)
			}
		}
	}
}

func equalBlobs(a, b blob) bool {
	return a.Digest == b.Digest && a.Algorithm == b.Algorithm && slices.Equal(a.Places, b.Places)
}

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

// algorithmOf returns gzip or zstd for what a descriptor can be without further annotations, "" for the rest: of
// zstd:chunked the library does not give back the annotations that make it one.
func algorithmOf(info types.BlobInfo) string {
	for k := range info.Annotations {
		if len(k) > len(chunkedPrefix) && k[:len(chunkedPrefix)] == chunkedPrefix {
			return ""
		}
	}
	switch info.MediaType {
	case "application/vnd.oci.image.layer.v1.tar+gzip", cmanifest.DockerV2Schema2LayerMediaType:
		return "gzip"
	case "application/vnd.oci.image.layer.v1.tar+zstd":
		return "zstd"
	}
	return ""
}

const chunkedPrefix = "io.github.containers.zstd-chunked"

package builder

import (
	"context"
	"encoding/json"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// A onceRef is a destination for a list whose images are compressed in further ways. The library copies artifacts once more for that, though
// nothing of them is compressed, and lists the copies: the list is written without.
type onceRef struct {
	types.ImageReference
	written *[]byte // the list
}

// copyListed copies src to dest, and returns the manifest or list that it is there.
func (s *Store) copyListed(ctx context.Context, dest, src types.ImageReference, r Registry, co copy.Options) (raw []byte, err error) {
	var list []byte
	several := len(co.EnsureCompressionVariantsExist) > 0 && hasArtifacts(src)
	reg, ok := dest.(*blobDest)
	if several && ok {
		reg.ImageReference = onceRef{reg.ImageReference, &list}
	}
	err = s.complete(dest, func(to types.ImageReference) (err error) {
		if several && !ok {
			to = onceRef{to, &list}
		}
		raw, err = s.transfer(ctx, to, src, r, co)
		return err
	})
	if list != nil {
		raw = list
	}
	return raw, err
}

// NewImageDestination opens the destination.
func (r onceRef) NewImageDestination(ctx context.Context, sys *types.SystemContext) (types.ImageDestination, error) {
	inner, err := r.ImageReference.NewImageDestination(ctx, sys)
	if err != nil {
		return nil, err
	}
	return onceDest{inner, r.written}, nil
}

type onceDest struct {
	types.ImageDestination
	written *[]byte
}

// PutManifest writes a manifest, or the list.
func (d onceDest) PutManifest(ctx context.Context, raw []byte, instance *digest.Digest) error {
	if instance == nil {
		var err error
		if raw, err = listedOnce(raw); err != nil {
			return err
		}
		*d.written = raw
	}
	return d.ImageDestination.PutManifest(ctx, raw, instance)
}

// listedOnce is a list without the entries that are, but for their annotations, in it already.
func listedOnce(raw []byte) ([]byte, error) {
	var list map[string]json.RawMessage
	var entries, kept []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(list["manifests"], &entries); err != nil {
		return nil, err
	}
	seen := map[digest.Digest]bool{}
	for _, text := range entries {
		var e manifest.Entry
		if err := json.Unmarshal(text, &e); err != nil {
			return nil, err
		}
		if e.Platform == nil && seen[e.Digest] {
			continue
		}
		seen[e.Digest] = true
		kept = append(kept, text)
	}
	if len(kept) == len(entries) {
		return raw, nil
	}
	var err error
	if list["manifests"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	return json.Marshal(list)
}

// hasArtifacts tells whether a source is a list in local storage with entries that are for no platform.
func hasArtifacts(src types.ImageReference) bool {
	x, ok := src.(indexRef)
	if !ok {
		return false
	}
	for _, e := range x.x.list.Manifests {
		if e.Platform == nil {
			return true
		}
	}
	return false
}

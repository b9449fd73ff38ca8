package builder

import (
	"context"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// ContentDigest is the digest of what a copy of patterns below src would copy, with nothing copied. The owner that Chown
// names is not part of it, as names mean something only in a container.
func ContentDigest(ctx context.Context, src *rootfs.Root, patterns []string, o CopyOptions) (copier.Content, error) {
	o.Chown = ""
	co, err := copierOptions(nil, o)
	if err != nil {
		return copier.Content{}, err
	}
	return copier.Digest(ctx, src, patterns, co)
}

// FullNames are names as local storage keeps them: with registry and tag.
func FullNames(names []string) ([]string, error) { return localNames(names) }

package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"time"

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
func (s *Store) FullNames(names []string) ([]string, error) { return s.localNames(names) }

// ContextIndex is what earlier builds have found out of the files of a context directory, given by its absolute path. The
// caller gives it back with SaveIndex.
func (s *Store) ContextIndex(dir string) *copier.Index {
	name := sha256.Sum256([]byte(dir))
	return copier.OpenIndex(filepath.Join(s.indexes(), hex.EncodeToString(name[:])))
}

func (s *Store) indexes() string { return filepath.Join(s.st.GraphRoot(), "slipway", "index") }

// unusedIndex is how long the index of a context stays that is not built any more.
const unusedIndex = 30 * 24 * time.Hour

// SaveIndex keeps what is new in an index. That it cannot be kept costs time at the next build, and is no error of this one.
func (s *Store) SaveIndex(x *copier.Index) {
	if err := x.Save(); err != nil {
		s.o.Log.Debug("saving the index of a context", "error", err)
	}
	if err := copier.SweepIndexes(s.indexes(), unusedIndex, s.o.Now()); err != nil {
		s.o.Log.Debug("removing old indexes", "error", err)
	}
}

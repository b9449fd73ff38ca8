package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/internal/flock"
)

// A registry collects what no tag leads to. A layout has nobody who does: the image library only takes its name from a list that another one
// replaces. So whoever has written a list removes those, and what only they had. Images may be in the layout too: nothing is removed but what a
// replaced list names.

// writing holds, from before the first blob is sent, a lock that keeps others from removing any; the error is not one of a file system
// without locks, where nothing is removed.
func (c *RemoteCache) writing() (*flock.Lock, error) {
	if c.dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(c.blobs(), 0o755); err != nil { //nolint:gosec // layouts are for everyone
		return nil, err
	}
	lock, err := flock.AcquireDir(c.blobs(), flock.Shared)
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	return lock, nil
}

func (c *RemoteCache) blobs() string { return filepath.Join(c.dir, "blobs", "sha256") }

// sweep removes the lists that were replaced, unless others are writing: the last one removes them. The caller has a lock of the layout, and
// hold from writing. A failure costs room and nothing else.
func (c *RemoteCache) sweep(hold *flock.Lock) {
	if hold == nil || hold.Only() != nil {
		return
	}
	if err := sweepLayout(c.dir); err != nil {
		c.s.o.Log.Warn("removing replaced lists of a build cache", "cache", c.place, "error", err)
	}
}

// A layoutEntry is one of a layout's index, as it is there and as far as it matters.
type layoutEntry struct {
	raw json.RawMessage
	ispec.Descriptor
}

// sweepLayout removes the lists of a layout that have no name, with their blobs that nothing else in it refers to.
func sweepLayout(dir string) error {
	index, entries, err := readLayout(dir)
	if err != nil {
		return err
	}
	found, err := surveyLayout(dir, entries)
	if err != nil || len(found.lists) == 0 {
		return err
	}
	// Lists come last: who is killed leaves them for the next one.
	for d := range found.stale {
		if err := found.remove(dir, d); err != nil {
			return err
		}
	}
	if err := writeLayout(dir, index, found.kept); err != nil {
		return err
	}
	for _, d := range found.lists {
		err = errors.Join(err, found.remove(dir, d))
	}
	return err
}

// A layoutSurvey tells what of a layout is to go: lists without a name, and what they refer to. What the entries that are kept lead to
// is used: blobs of all kinds, and those of them that are known to be manifests.
type layoutSurvey struct {
	kept            []json.RawMessage
	lists           []digest.Digest
	stale           map[digest.Digest]bool
	used, manifests map[digest.Digest]bool
}

// surveyLayout fails where anything cannot be read: it may refer to whatever is there.
func surveyLayout(dir string, entries []layoutEntry) (*layoutSurvey, error) {
	s := &layoutSurvey{stale: map[digest.Digest]bool{}, used: map[digest.Digest]bool{}, manifests: map[digest.Digest]bool{}}
	for _, e := range entries {
		m, err := readLayoutManifest(dir, e.Digest)
		if err != nil {
			return nil, err
		}
		if e.Annotations[ispec.AnnotationRefName] == "" && m.Config.MediaType == cacheType {
			m.each(func(d digest.Digest) { s.stale[d] = true })
			s.lists = append(s.lists, e.Digest)
			continue
		}
		s.kept = append(s.kept, e.raw)
		if err := s.mark(dir, e.Digest, m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// mark adds the manifest d, which is m, and all that it refers to, to what is used.
func (s *layoutSurvey) mark(dir string, d digest.Digest, m layoutManifest) error {
	s.used[d], s.manifests[d] = true, true
	m.each(func(d digest.Digest) { s.used[d] = true })
	for _, e := range m.Manifests {
		if s.manifests[e.Digest] {
			continue
		}
		inner, err := readLayoutManifest(dir, e.Digest)
		if err == nil {
			err = s.mark(dir, e.Digest, inner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remove removes a blob unless it is used.
func (s *layoutSurvey) remove(dir string, d digest.Digest) error {
	if s.used[d] || d.Validate() != nil {
		return nil
	}
	if err := os.Remove(blobIn(dir, d)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readLayout(dir string) (index map[string]json.RawMessage, entries []layoutEntry, err error) {
	text, err := LayoutIndex(dir)
	if err != nil {
		return nil, nil, err
	}
	var list []json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &index), json.Unmarshal(index["manifests"], &list)); err != nil {
		return nil, nil, err
	}
	for _, raw := range list {
		e := layoutEntry{raw: raw}
		if err := json.Unmarshal(raw, &e.Descriptor); err != nil {
			return nil, nil, err
		}
		entries = append(entries, e)
	}
	return index, entries, nil
}

func writeLayout(dir string, index map[string]json.RawMessage, entries []json.RawMessage) (err error) {
	if index["manifests"], err = json.Marshal(entries); err != nil {
		return err
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, layoutIndex)
	st, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if own, ok := st.Sys().(*syscall.Stat_t); !ok || !st.Mode().IsRegular() || int(own.Uid) != os.Geteuid() {
		return os.WriteFile(name, text, 0o644) //nolint:gosec // in place, as the library does: its owner is to write it again
	}
	if err := replaceFile(dir, layoutIndex, text); err != nil {
		return err
	}
	return os.Chmod(name, st.Mode().Perm())
}

// A layoutManifest is what a manifest or a list refers to.
type layoutManifest struct {
	Config    ispec.Descriptor   `json:"config"`
	Layers    []ispec.Descriptor `json:"layers"`
	Manifests []ispec.Descriptor `json:"manifests"`
}

// readLayoutManifest reads one of a layout; one that is not there refers to nothing.
func readLayoutManifest(dir string, d digest.Digest) (m layoutManifest, err error) {
	if err := d.Validate(); err != nil {
		return m, fmt.Errorf("digest %q: %w", d, err)
	}
	f, err := openPlain(blobIn(dir, d))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer f.Close()
	return m, json.NewDecoder(io.LimitReader(f, maxCacheBytes)).Decode(&m)
}

// each calls f for each blob that a manifest refers to.
func (m layoutManifest) each(f func(digest.Digest)) {
	f(m.Config.Digest)
	for _, l := range m.Layers {
		f(l.Digest)
	}
}

// blobIn is the file of a blob in a layout.
func blobIn(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
}

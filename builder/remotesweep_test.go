package builder

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A layout for sweepLayout: entries are added with or without a name.
type testLayout struct {
	t       *testing.T
	dir     string
	entries []map[string]any
}

func (l *testLayout) blob(text string) digest.Digest {
	l.t.Helper()
	d := digest.FromString(text)
	if err := os.WriteFile(blobIn(l.dir, d), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return d
}

func (l *testLayout) manifest(kind string, layers ...digest.Digest) digest.Digest {
	l.t.Helper()
	var list []map[string]any
	for _, d := range layers {
		list = append(list, map[string]any{"digest": d})
	}
	key := "layers"
	if kind == "index" {
		key = "manifests"
	}
	text, err := json.Marshal(map[string]any{"config": map[string]any{"mediaType": kind, "digest": digest.FromString(kind)}, key: list})
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(string(text))
}

func (l *testLayout) entry(d digest.Digest, name string) {
	e := map[string]any{"digest": d, "kept": "as it is"}
	if name != "" {
		e["annotations"] = map[string]string{"org.opencontainers.image.ref.name": name}
	}
	l.entries = append(l.entries, e)
}

func (l *testLayout) index() {
	l.t.Helper()
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": l.entries})
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, layoutIndex), text, 0o640); err != nil { //nolint:gosec // to be kept
		l.t.Fatal(err)
	}
}

func (l *testLayout) has(d digest.Digest) bool {
	_, err := os.Stat(blobIn(l.dir, d))
	return err == nil
}

func newTestLayout(t *testing.T) *testLayout {
	l := &testLayout{t: t, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(l.dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

// Only what a list without a name has alone is removed: not what other lists, images and images of indexes have, named or not.
func TestSweepLayout(t *testing.T) {
	t.Parallel()
	l := newTestLayout(t)
	alone, listed, inImage, inIndex, stray := l.blob("alone"), l.blob("listed"), l.blob("image"), l.blob("index"), l.blob("stray")
	old := l.manifest(cacheType, alone, listed, inImage, inIndex)
	l.entry(old, "")
	l.entry(l.manifest(cacheType, listed), "cache")
	l.entry(l.manifest("image", inImage), "")
	l.entry(l.manifest("index", l.manifest("image", inIndex)), "multi")
	l.index()
	if err := sweepLayout(l.dir); err != nil {
		t.Fatal(err)
	}
	for d, want := range map[digest.Digest]bool{old: false, alone: false, listed: true, inImage: true, inIndex: true, stray: true} {
		if l.has(d) != want {
			t.Errorf("%s: there is %t, want %t", d, !want, want)
		}
	}
	text, err := LayoutIndex(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	var x struct{ Manifests []struct{ Kept string } }
	if err := json.Unmarshal(text, &x); err != nil || len(x.Manifests) != 3 || x.Manifests[2].Kept == "" {
		t.Errorf("the index is %s (%v), want three entries as they were", text, err)
	}
	if st, err := os.Stat(filepath.Join(l.dir, layoutIndex)); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("the index is %v (%v), want the mode that it had", st.Mode(), err)
	}
}

// What cannot be read may refer to anything.
func TestSweepDamagedLayout(t *testing.T) {
	t.Parallel()
	l := newTestLayout(t)
	alone := l.blob("alone")
	l.entry(l.manifest(cacheType, alone), "")
	l.entry(l.blob("no manifest"), "image")
	l.index()
	if err := sweepLayout(l.dir); err == nil || !l.has(alone) {
		t.Errorf("error %v, the blob is there: %t; want an error and the blob", err, l.has(alone))
	}
}

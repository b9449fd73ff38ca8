package manifest

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func entry(text, arch, variant string) Entry {
	return Entry{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digest.FromString(text), Size: 3,
		Platform: &Platform{OS: "linux", Architecture: arch, Variant: variant}}
}

func TestIndexEdits(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	a, b := entry("a", "amd64", ""), entry("b", "arm64", "v8")
	x.Set(a)
	x.Set(b)
	a.Annotations = map[string]string{"k": "v"}
	x.Set(a)
	if len(x.Manifests) != 2 || x.Find(a.Digest).Annotations["k"] != "v" {
		t.Errorf("an entry set twice: %+v", x.Manifests)
	}
	if e, err := x.Choose("linux", "arm64", ""); err != nil || e.Digest != b.Digest {
		t.Errorf("arm64 of any variant: %v, %v", e, err)
	}
	if _, err := x.Choose("linux", "arm64", "v9"); !errors.Is(err, ErrNoPlatform) {
		t.Errorf("a variant that is not there: %v", err)
	}
	if !x.Remove(b.Digest) || x.Remove(b.Digest) || len(x.Manifests) != 1 {
		t.Error("removing")
	}
}

func TestIndexRoundTrip(t *testing.T) {
	t.Parallel()
	x := NewIndex()
	x.Set(entry("a", "amd64", ""))
	x.Annotations = map[string]string{"b": "2", "a": "1"}
	raw, err := x.JSON()
	if err != nil {
		t.Fatal(err)
	}
	y, err := ParseIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	again, err := y.JSON()
	if err != nil || string(again) != string(raw) {
		t.Errorf("%v\n%s\n%s", err, raw, again)
	}
}

func TestParseIndexRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{`: "reading",
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json"}`:                    "not a list type",
		`{"schemaVersion":2,"config":{},"layers":[]}`:                                   "not a list type",
		`{"manifests":[{"digest":"sha256:../../x"}]}`:                                   "invalid",
		`{"manifests":[{"digest":"` + digest.FromString("").String() + `","size":-1}]}`: "negative",
		strings.Repeat(" ", MaxIndex+1):                                                 "too large",
	} {
		if _, err := ParseIndex([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := ParseIndex(raw)
		if err != nil {
			return
		}
		first, err := x.JSON()
		if err != nil {
			return // larger when written again
		}
		y, err := ParseIndex(first)
		if err != nil {
			t.Fatalf("our own list is refused: %v\n%s", err, first)
		}
		if second, err := y.JSON(); err != nil || string(second) != string(first) {
			t.Fatalf("written twice: %v\n%s\n%s", err, first, second)
		}
	})
}

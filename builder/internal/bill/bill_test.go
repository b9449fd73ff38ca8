package bill

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		s    Strategy
		docs []string
		want string // the compact result, or a part of the error
	}{
		"one, whatever it is": {"", []string{"anything"}, "anything"},
		"cat":                 {Cat, []string{"a\n", "b\n"}, "a\nb\n"},
		"cyclonedx": {CycloneDX, []string{
			`{"bomFormat":"CycloneDX","components":[{"name":"a","version":"1","x":1}]}`,
			`{"bomFormat":"other","components":[{"name":"a","version":"1"},{"name":"a","version":"2"},{"name":"b"}]}`,
		}, `{"bomFormat":"CycloneDX","components":[{"name":"a","version":"1","x":1},{"name":"a","version":"2"},{"name":"b"}]}`},
		"spdx": {SPDX, []string{
			`{"packages":[{"name":"a","versionInfo":"1"}]}`, `{"packages":[{"name":"a","versionInfo":"1"},{"name":"c","versionInfo":"1"}]}`,
		}, `{"packages":[{"name":"a","versionInfo":"1"},{"name":"c","versionInfo":"1"}]}`},
		"without a list": {SPDX, []string{`{"a":1}`, `{}`}, `{"a":1,"packages":[]}`},
		"no JSON":        {SPDX, []string{`{}`, `x`}, "SBOM 2 is no JSON object"},
		"no list":        {SPDX, []string{`{"packages":1}`, `{}`}, "SBOM 1: packages"},
		"unknown":        {"glue", []string{`{}`, `{}`}, `unknown SBOM merge strategy "glue"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var docs [][]byte
			for _, d := range tt.docs {
				docs = append(docs, []byte(d))
			}
			got, err := Merge(tt.s, docs)
			text := string(got)
			if err != nil {
				text = err.Error()
			} else if v := any(nil); json.Unmarshal(got, &v) == nil {
				compact, _ := json.Marshal(v)
				text = string(compact)
			}
			if !strings.HasPrefix(text, tt.want) {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

func TestPURLs(t *testing.T) {
	t.Parallel()
	got, err := PURLs([]byte(`{"components":[{"purl":"pkg:b"},{"purl":"pkg:a"},{"purl":"pkg:b"},{}],
		"packages":[{"externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:c"},{"referenceType":"cpe","referenceLocator":"pkg:d"}]}]}`))
	want := `{"image_contents":{"dependencies":[{"purl":"pkg:a"},{"purl":"pkg:b"},{"purl":"pkg:c"}]}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for docs, want := range map[string]string{
		"text": `{"image_contents":{}}`, `{"components":[]}`: `{"image_contents":{}}`, "": `{"image_contents":{}}`,
		`{"components":[{"purl":"pkg:b"}]}` + "\n" + `{"components":[{"purl":"pkg:a"}]}`: `{"image_contents":{"dependencies":[{"purl":"pkg:a"},{"purl":"pkg:b"}]}}`,
	} {
		if got, err := PURLs([]byte(docs)); string(got) != want || err != nil {
			t.Errorf("%q: %s, %v", docs, got, err)
		}
	}
}

func FuzzMerge(f *testing.F) {
	f.Add(`{"components":[{"name":"a"}]}`, `{"components":[{"name":"b","version":1}]}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []Strategy{CycloneDX, SPDX} {
			got, err := Merge(s, [][]byte{[]byte(a), []byte(b)})
			if err != nil {
				continue
			}
			again, err := Merge(s, [][]byte{got, []byte(b)})
			if err != nil {
				t.Fatalf("the result cannot be merged: %v", err)
			}
			if string(again) != string(got) {
				t.Errorf("merging %q once more changes %q to %q", b, got, again)
			}
			_, _ = PURLs(got)
		}
	})
}

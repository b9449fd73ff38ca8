package state

import (
	"encoding/json"
	"testing"
)

// FuzzParse: a record that another tool, or an attacker with access to the store, wrote is refused or read; it is never a panic, and
// what was read is written and read again as the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"buildah 0.0.1","container":"c","Docker":{"config":null},"OCIv1":{},"extra":{"a":[1]}}`))
	f.Add([]byte(`{"type":"buildah 0.0.1","common-build-opts":null,"namespace-options":[null],"idmapping-options":null,"Docker":"x"}`))
	f.Add([]byte(`{"type":"buildah 0.0.1","Docker":[],"OCIv1":{"config":{"Labels":null,"ExposedPorts":{"x":null}},"history":[null]}}`))
	if b, err := json.Marshal(New()); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		r, err := Parse(blob)
		if err != nil {
			return
		}
		img, err := r.Image()
		if err == nil {
			if err := r.SetImage(img.Clone()); err != nil {
				t.Fatalf("%q: configuration cannot be written: %v", blob, err)
			}
		}
		_ = r.PreferredFormat()
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatalf("%q cannot be written: %v", blob, err)
		}
		again, err := Parse(b)
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", blob, b, err)
		}
		if b2, err := json.Marshal(again); err != nil || string(b2) != string(b) {
			t.Fatalf("%q becomes %q, then %q, %v", blob, b, b2, err)
		}
	})
}

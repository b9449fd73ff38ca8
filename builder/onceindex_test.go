package builder

import "testing"

// What is for no platform and in the list already is left out; images and all else stay as they are.
func TestListedOnce(t *testing.T) {
	t.Parallel()
	a, b := `"digest":"sha256:aa"`, `"digest":"sha256:bb"`
	image := `{` + a + `,"platform":{"os":"linux"}}`
	for raw, want := range map[string]string{
		`{"manifests": [{` + a + `}, {` + b + `}], "x": 1}`:                                                         `{"manifests": [{` + a + `}, {` + b + `}], "x": 1}`,
		`{"manifests": [{` + a + `}, {` + a + `,"annotations":{"zstd":"true"}}, {` + b + `}, {` + b + `}], "x": 1}`: `{"manifests":[{` + a + `},{` + b + `}],"x":1}`,
		`{"manifests":[` + image + `,` + image + `]}`:                                                               `{"manifests":[` + image + `,` + image + `]}`,
	} {
		if got, err := listedOnce([]byte(raw)); err != nil || string(got) != want {
			t.Errorf("%s\nbecomes %s (%v)\nwant %s", raw, got, err, want)
		}
	}
	for _, raw := range []string{`{`, `{}`, `{"manifests":{}}`} {
		if got, err := listedOnce([]byte(raw)); err == nil {
			t.Errorf("%s becomes %s", raw, got)
		}
	}
}

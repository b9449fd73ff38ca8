package lint

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// Whatever parses can be checked, without a word about what is not in the file.
func FuzzCheck(f *testing.F) {
	f.Add("# check=skip=all;error=true\nARG A\nFROM x AS y\n# check=skip=Z\nCMD $A\nEXPOSE 1:2/TCP\n")
	f.Add("FROM --platform=$A a$B AS c\nENV A b\nWORKDIR ${A:?x}\nCOPY --from=c a b\nCOPY <<E /\nx\nE\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		p, err := plan.Parse("f", strings.NewReader(text))
		if err != nil {
			return
		}
		res, err := Check(Input{Plan: p, Ignored: func(string) bool { return true }})
		if err != nil {
			return
		}
		for _, found := range res.Findings {
			if found.Line() > strings.Count(text, "\n")+1 || found.Message == "" {
				t.Fatalf("%+v", found)
			}
		}
	})
}

func TestSecretNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"TOKEN": true, "my_auth": true, "SECRET_X": true, "CREDENTIAL": true, "CREDENTIALS": true, "PWORD": true, "KEY": true,
		"PUBLIC_KEY": false, "TOKEN_FILE": false, "TOKEN_VERSION": false, "TOKENS": false, "MONKEY": false, "AUTHOR": false,
	} {
		if got := secret(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestImageNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"a": true, "a/b:c": true, "localhost:5000/a_b/c-d@sha256:" + strings.Repeat("0", 64): true, "scratch": true, "oci:dir": true,
		"": false, ":x": false, "a:": false, "A/b c": false, "a//b": false, "Upper": false, "a@": false,
	} {
		if got := imageName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

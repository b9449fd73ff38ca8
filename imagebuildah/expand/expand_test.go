package expand

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

func TestWord(t *testing.T) {
	t.Parallel()
	s := Scope{Escape: '\\', Env: []string{"A=x", "E="}, Declared: []string{"D"}}
	for word, want := range map[string]string{
		"$A${A}": "xx", "${U:-w}${U-w}": "ww", "[${E:-w}${E-v}]": "[w]", "${A:+y}${U+y}": "y", `'$A'"$A"\$A`: "$Ax$A", "$D$U": "",
	} {
		if got, err := s.Expand(word); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", word, got, err, want)
		}
	}
	_, unset, err := s.Word("$U $D $A $E")
	if err != nil || !slices.Equal(unset, []string{"U"}) {
		t.Errorf("unset: %q, %v", unset, err)
	}
	for _, word := range []string{"${A", "${}", `"`, "${U:?no}", "${U?no}", "${A:0:1}"} {
		if _, err := s.Expand(word); err == nil || strings.ContainsRune(err.Error(), '\ufffd') {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// The order of the sources of a value, and that what is not used is not looked at.
func TestArg(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	s := Scope{Escape: '\\'}
	err := s.Arg(&instructions.ArgCommand{Args: []instructions.KeyValuePairOptional{
		{Key: "GIVEN", Value: text("${X?unused}")}, {Key: "DEFAULT", Value: text("${GIVEN}2")}, {Key: "OUTER"}, {Key: "BOTH", Value: text("own")}, {Key: "NONE"},
	}}, map[string]string{"GIVEN": "1", "NOT": "x"}, []string{"OUTER=o", "BOTH=outer"})
	want := []string{"GIVEN=1", "DEFAULT=12", "OUTER=o", "BOTH=own"}
	if err != nil || !slices.Equal(s.Env, want) || len(s.Declared) != 5 {
		t.Errorf("%q %q %v", s.Env, s.Declared, err)
	}
	if got := s.History(); got != "|4 BOTH=own DEFAULT=12 GIVEN=1 OUTER=o " {
		t.Error(got)
	}
}

// Lines that double a variable each end in an error, not in memory that runs out.
func TestBounded(t *testing.T) {
	t.Parallel()
	s := Scope{Escape: '\\', Env: []string{"A=" + strings.Repeat("x", 1<<19)}}
	if _, err := s.Expand("$A$A"); err != nil {
		t.Error(err)
	}
	for _, f := range []func(string) (string, error){s.Expand, s.Body, func(w string) (string, error) { l, err := s.Words(w); return strings.Join(l, " "), err }} {
		if _, err := f("$A$A$A"); err == nil {
			t.Error("more than 1 MiB was taken")
		}
		deep := strings.Repeat("${U:-", 100) + strings.Repeat("}", 100)
		if _, err := f(deep + deep + deep); err != nil {
			t.Error(err)
		}
		if _, err := f(strings.Repeat("${U:-", 1<<20)); err == nil || !strings.Contains(err.Error(), "nested") { // would take hours
			t.Errorf("nested without an end: %v", err)
		}
	}
}

// What is no text reaches no lexer that prints its complaints.
func TestNotText(t *testing.T) {
	t.Parallel()
	s := Scope{Escape: '\\', Env: []string{"A=x"}}
	if got, err := s.Expand("\xff$A\xc0\xc1"); err != nil || got != "\ufffdx\ufffd\ufffd" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Body("a\x00b"); err == nil {
		t.Error("NUL was taken")
	}
}

// Expansion ends, with a value or an error, and never panics; without a dollar, quote or escape nothing changes.
func FuzzWord(f *testing.F) {
	for _, seed := range []string{"$A", "${A:-$B}", "${A//x*/\\}", "'\"${", "a\\", "${A#?}${A%%*}", "$$$", "${A/b/$1}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		s := Scope{Escape: '\\', Env: []string{"A=abc", "B="}}
		out, err := s.Expand(word)
		if err == nil && !strings.ContainsAny(word, "$\\'\"") && out != word && strings.ToValidUTF8(word, "\ufffd") == word {
			t.Fatalf("%q became %q", word, out)
		}
		_, _ = s.Words(word)
		_, _ = s.Body(word)
	})
}

// A word without variables costs the same however many there are: files with thousands of them are read in no time.
func TestManyVariables(t *testing.T) { //nolint:paralleltest // allocations are counted
	var few, many Scope
	few.Escape, many.Escape = '\\', '\\'
	for i := range 1000 {
		many.Set(fmt.Sprintf("V%d", i), "x")
	}
	cost := func(s *Scope) float64 {
		return testing.AllocsPerRun(10, func() {
			if _, err := s.Expand("word"); err != nil {
				t.Error(err)
			}
		})
	}
	if a, b := cost(&few), cost(&many); b > a+5 {
		t.Errorf("%v allocations with 1000 variables, %v with none", b, a)
	}
}

// Of several variables of one name, as images may have, the last one counts.
func TestSameName(t *testing.T) {
	t.Parallel()
	s := Scope{Escape: '\\', Env: []string{"A=1", "B=2", "A=3"}}
	if got, err := s.Expand("$A$B${AB}"); got != "32" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	s.Set("A", "4")
	if got, err := s.Expand("$A"); got != "4" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

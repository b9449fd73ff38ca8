package cache

import (
	oldrand "math/rand"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
)

// Two inputs have the same key if and only if they are the same: whatever is moved between fields, split or joined.
func TestKeyProperty(t *testing.T) {
	t.Parallel()
	same := func(a, b Input) bool { return (a.Key() == b.Key()) == (len(differences(a, b)) == 0) }
	few := func(values []reflect.Value, r *rand.Rand) { // few different words, so that equal and nearly equal inputs come up
		words := []string{"", "a", "b", "ab", `a","b`, "a b", "\x00"}
		for i := range values {
			in := reflect.New(reflect.TypeFor[Input]()).Elem()
			for n := range in.NumField() {
				if in.Field(n).Kind() == reflect.String {
					in.Field(n).SetString(words[r.IntN(len(words))])
					continue
				}
				var list []string
				for range r.IntN(3) {
					list = append(list, words[r.IntN(len(words))])
				}
				in.Field(n).Set(reflect.ValueOf(list))
			}
			if i == 1 && r.IntN(2) == 0 { // the second differs from the first in one field at most
				other := in
				in = reflect.New(reflect.TypeFor[Input]()).Elem()
				in.Set(values[0])
				n := r.IntN(in.NumField())
				in.Field(n).Set(other.Field(n))
			}
			values[i] = in
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	c := &quick.Config{MaxCount: 5000, Values: func(v []reflect.Value, _ *oldrand.Rand) { few(v, r) }}
	if err := quick.Check(same, c); err != nil {
		t.Error(err)
	}
}

// A chain of keys: a change of one step changes the keys of all after it, and of none before.
func TestChain(t *testing.T) {
	t.Parallel()
	chain := func(args ...string) (keys []string) {
		parent := "layer:base"
		for _, a := range args {
			parent = (&Input{Kind: "RUN", Parent: parent, Args: []string{a}}).Key()
			keys = append(keys, parent)
		}
		return keys
	}
	a, b := chain("1", "2", "3", "4"), chain("1", "2", "x", "4")
	for n := range a {
		if (a[n] == b[n]) != (n < 2) {
			t.Errorf("step %d: equal is %v", n+1, a[n] == b[n])
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	base := Input{Kind: "RUN", Parent: "p", Args: []string{"make"}, Env: []string{"V=1"}}
	far := Input{Kind: "RUN", Parent: "q", Args: []string{"other"}, Env: []string{"X=1"}}
	for name, c := range map[string]struct {
		want Input
		have []Input
		says string
	}{
		"nothing":   {base, []Input{{Kind: "COPY"}}, "no RUN step has been built here"},
		"gone":      {base, []Input{base}, "its layer is gone"},
		"env":       {Input{Kind: "RUN", Parent: "p", Args: []string{"make"}, Env: []string{"V=2"}}, []Input{base, far}, `env was ["V=1"], is ["V=2"]`},
		"below":     {Input{Kind: "RUN", Parent: "z", Args: []string{"make"}, Env: []string{"V=1"}}, []Input{base, far}, "what it stands on is another"},
		"another's": {Input{Kind: "RUN", Parent: "z", Args: []string{"else"}, Env: []string{"V=1"}}, []Input{base, far}, "it has not been built here"},
		"elements": {Input{Kind: "RUN", Parent: "p", Args: []string{"make"}, Env: []string{"A=1", "V=2", "W=1"}},
			[]Input{{Kind: "RUN", Parent: "p", Args: []string{"make"}, Env: []string{"A=1", "V=1", "W=1"}}}, `env was ["V=1"], is ["V=2"]`},
		"far behind": {Input{Kind: "RUN", Args: []string{strings.Repeat("é", 999) + "was"}}, []Input{{Kind: "RUN", Args: []string{strings.Repeat("é", 999) + "is"}}}, `éis"], is …é`},
		"order":      {Input{Kind: "RUN", Args: []string{"a", "b"}}, []Input{{Kind: "RUN", Args: []string{"b", "a"}}}, `args was ["b" "a"], is ["a" "b"]`},
		"most alike": {Input{Kind: "RUN", Parent: "q", Args: []string{"other"}}, []Input{far, base}, `env was ["X=1"]`},
	} {
		if got := Explain(c.want, c.have, nil); !strings.Contains(got, c.says) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Of content the path is named that differs, where that is known.
func TestExplainPath(t *testing.T) {
	t.Parallel()
	want, was := Input{Kind: "COPY", Content: []string{"dir:1", "file:2"}}, Input{Kind: "COPY", Content: []string{"dir:1", "file:3"}}
	known := ""
	path := func(a, b Input, n int) string {
		if a.Key() != was.Key() || b.Key() != want.Key() || n != 1 {
			t.Errorf("asked for %v, %v, %d", a, b, n)
		}
		return known
	}
	if got := Explain(want, []Input{was}, path); got != `content was ["file:3"], is ["file:2"]` {
		t.Errorf("%q", got)
	}
	known = "x is new"
	if got := Explain(want, []Input{was}, path); got != "content: x is new" {
		t.Errorf("%q", got)
	}
}

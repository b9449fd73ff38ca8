package plan

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNeeded(t *testing.T) {
	t.Parallel()
	p, err := Parse("Dockerfile", strings.NewReader("FROM scratch AS a\nFROM a AS B\nRUN x\nFROM scratch AS unused\nFROM scratch\nCOPY --from=b /x /\nCOPY --from=0 /y /\n"))
	if err != nil {
		t.Fatal(err)
	}
	base := func(i int) (string, error) { return p.Stages[i].BaseName, nil }
	for target, want := range map[string][]int{"": {0, 1, 3}, "b": {0, 1}, "A": {0}, "2": {2}} {
		i, err := p.Target(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Needed(i, base)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v, want %v", target, got, err, want)
		}
	}
	if _, err := p.Target("nope"); err == nil {
		t.Error("a target that is not there was found")
	}
}

// Errors say where, and show it.
func TestErrors(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]int{"FROM scratch\nRUN x\nFOO y\n": 3, "FROM\n": 1, "FROM scratch\n\nCOPY a\n": 3, "RUN x\nFROM y\n": 1} {
		_, err := Parse("File", strings.NewReader(text))
		var at *SourceError
		if !errors.As(err, &at) || at.Line != line || !strings.Contains(at.Excerpt, ">>> ") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "\n\n", "# nothing\n", "ARG x\n"} {
		if _, err := Parse("File", strings.NewReader(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("FROM a AS b\nRUN <<E\nx\nE\nCOPY --from=b [\"x\"] y\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("f", strings.NewReader(text))
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Fatal("an error without words")
			}
			return
		}
		if i, err := p.Target(""); err == nil {
			_, _ = p.Needed(i, func(i int) (string, error) { return p.Stages[i].BaseName, nil })
		}
	})
}

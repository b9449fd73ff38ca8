package plan

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNeeded(t *testing.T) {
	t.Parallel()
	p, err := Parse("Dockerfile", strings.NewReader("FROM scratch AS a\nFROM a AS B\nRUN x\nFROM scratch AS unused\nFROM scratch\nCOPY --from=b /x /\nCOPY --from=0 /y /\n"+
		"FROM scratch AS late\nCOPY --from=2 /x /\nCOPY --from=b /x /\n"))
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string][]int{"": {0, 1, 2, 4}, "3": {0, 1, 3}, "b": {0, 1}, "A": {0}, "2": {2}} {
		i, err := p.Target(target)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Needed(i, written(p))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v, want %v", target, got, err, want)
		}
	}
	if _, err := p.Target("nope"); err == nil {
		t.Error("a target that is not there was found")
	}
}

// written are the sources of a plan without variables.
func written(p *Plan) func(int) (Sources, error) {
	return func(i int) (Sources, error) {
		s := Sources{Base: p.Stages[i].BaseName, After: p.Stages[i].After}
		for _, c := range p.Stages[i].Commands {
			s.Refs = append(s.Refs, Refs(c)...)
		}
		return s, nil
	}
}

// What names no stage that is built before is refused before anything is pulled.
func TestNeededErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nFROM a":        `cannot copy from stage "b", it needs to be defined before current stage "a"`,
		"FROM scratch\nCOPY --from=1 x y":                                        "invalid stage index 1",
		"FROM scratch\nCOPY --from=0 x y":                                        "needs to be defined before",
		"FROM scratch AS a\nCOPY --from=a x y":                                   "COPY --from=a: no stage or image found with that name",
		"FROM scratch AS a\nRUN --mount=from=b,target=/x y\nFROM a AS b\nFROM a": `cannot mount from stage "b"`,
		"FROM --after=x scratch":                                                 `FROM --after=x: stage "x" not found`,
		"FROM --after=a scratch AS a":                                            "FROM --after=a: cannot depend on later stage",
	} {
		p, err := Parse("f", strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Needed(len(p.Stages)-1, written(p))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Errors say where, and show it.
func TestErrors(t *testing.T) {
	t.Parallel()
	for text, line := range map[string]int{"FROM scratch\nRUN x\nFOO y\n": 3, "FROM\n": 1, "FROM scratch\n\nCOPY a\n": 3, "RUN x\nFROM y\n": 1,
		"FROM scratch\n\nENV A=" + strings.Repeat("x", 70000): 3} {
		_, err := Parse("File", strings.NewReader(text))
		var at *SourceError
		if !errors.As(err, &at) || at.Line != line || !strings.Contains(at.Excerpt, ">>> ") || len(at.Excerpt) > 2000 {
			t.Errorf("%.100q: %v", text, err)
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
			_, _ = p.Needed(i, written(p))
		}
	})
}

package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/tests/harness"
)

// A cachecase is a build, something that changes, and what the second build then finds of its steps.
type cachecase struct {
	name, dockerfile string
	args, environ    []string // of both builds
	then             change
	do               []string // before the first build
	want             []string
}

// A change is what is another for the second build.
type change struct{ do, args, environ []string }

// TestCache builds each case of cache/*.txtar twice: what can change a result misses, and the first input that differs is named;
// what cannot hits. Whatever is said to be found is what is made without a cache: the same files and the same configuration.
func TestCache(t *testing.T) {
	harness.Need(t, "root")
	files, err := filepath.Glob("cache/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, nil, slipway{})
			for _, f := range archive.Files { // one by one: a miss is explained by the step built last among those most alike
				c, err := parseCacheCase(f.Name, string(f.Data))
				if err != nil {
					t.Fatalf("%s: %s: %v", file, f.Name, err)
				}
				t.Run(c.name, func(t *testing.T) { c.run(t, l) })
			}
		})
	}
}

func parseCacheCase(name, text string) (*cachecase, error) {
	dockerfile, rest, ok := strings.Cut(text, separator)
	if !ok {
		return nil, fmt.Errorf("no line ====")
	}
	c := &cachecase{name: name}
	// No step is that of another case: what RUN sees and what COPY copies have the case's name.
	c.dockerfile = regexp.MustCompile(`(?m)^FROM base.*$`).ReplaceAllString(dockerfile, "$0\nENV CASE="+name) + "\n"
	for line := range strings.Lines(rest) {
		word, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		do, args, environ := &c.do, &c.args, &c.environ
		if word == "then" {
			word, value, _ = strings.Cut(value, " ")
			do, args, environ = &c.then.do, &c.then.args, &c.then.environ
		}
		switch word {
		case "do":
			*do = append(*do, value)
		case "args":
			*args = append(*args, strings.Fields(value)...)
		case "environ":
			*environ = append(*environ, value)
		case "want":
			c.want = strings.Fields(value)
		case "", "#":
		default:
			return nil, fmt.Errorf("unknown line %q", line)
		}
	}
	if c.want == nil {
		return nil, fmt.Errorf("no want")
	}
	return c, nil
}

func (c *cachecase) run(t *testing.T, l *lab) {
	dir := filepath.Join(l.store.Dir, "contexts", c.name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"Dockerfile": c.dockerfile, "f": c.name + "\n", "g": c.name + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.sh(t, l, dir, c.do)
	c.build(t, l, dir, "-t", c.name)
	c.sh(t, l, dir, c.then.do)
	after := *c
	after.args, after.environ = append(slices.Clone(c.args), c.then.args...), append(slices.Clone(c.environ), c.then.environ...)
	out := after.build(t, l, dir, "-t", c.name, "--explain-cache")
	if got := found(out); !slices.Equal(got, c.want) {
		t.Errorf("the second build finds %q, want %q:\n%s", got, c.want, out)
	}
	if !slices.Contains(c.want, "hit") {
		return
	}
	after.build(t, l, dir, "-t", c.name+".fresh", "--no-cache")
	if diff := l.unlike(t, c.name, c.name+".fresh"); diff != nil {
		t.Errorf("what is found is not what is made:\n%s", strings.Join(diff, "\n"))
	}
}

func (c *cachecase) sh(t *testing.T, l *lab, dir string, lines []string) {
	t.Helper()
	for _, line := range lines {
		cmd := l.store.Command("sh", "-ec", line)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, text)
		}
	}
}

func (c *cachecase) build(t *testing.T, l *lab, dir string, more ...string) string {
	t.Helper()
	cmd := l.store.Command(slices.Concat([]string{l.store.Bin, "build"}, more, c.args, []string{"."})...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, c.environ...)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return string(text)
}

// found is what --explain-cache says of the steps: "hit", the input that differs, "below" for a step on something else, "after" for
// one on a step that was executed.
func found(out string) (list []string) {
	for _, m := range regexp.MustCompile(`(?m)^--> cache (hit|miss [0-9a-f]{12}: (stands on|what it stands on|\w+))`).FindAllStringSubmatch(out, -1) {
		switch {
		case m[1] == "hit":
			list = append(list, "hit")
		case m[2] == "stands on":
			list = append(list, "after")
		case m[2] == "what it stands on":
			list = append(list, "below")
		default:
			list = append(list, m[2])
		}
	}
	return list
}

// unlike lists how two images differ, but for times.
func (l *lab) unlike(t *testing.T, a, b string) []string {
	t.Helper()
	var trees [2]listing
	var configs [2]json.RawMessage
	for i, name := range []string{a, b} {
		img, err := l.b.Image(name)
		if err != nil {
			t.Fatal(err)
		}
		blob, err := img.RawConfig(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Config json.RawMessage }
		if err := json.Unmarshal(blob, &doc); err != nil {
			t.Fatal(err)
		}
		if trees[i], err = list(img); err != nil {
			t.Fatal(err)
		}
		configs[i] = doc.Config
	}
	diff := trees[0].changes(trees[1], nil)
	if !bytes.Equal(configs[0], configs[1]) {
		diff = append(diff, fmt.Sprintf("config %s, not %s", configs[0], configs[1]))
	}
	return diff
}

package conformance

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// A testcase is one Dockerfile with its context and what must come of it.
type testcase struct {
	section, name string
	dockerfile    string
	args, environ []string
	needs         []string
	setup         [][]string // lines that begin with "+"
	context       map[string]string
	wants         []want
}

// A want is one expectation: "config.Env", `["A=b"]`.
type want struct{ what, text string }

// separator stands between a Dockerfile and its expectations.
const separator = "\n====\n"

// corpus reads all cases. Names are unique, as they name images.
func corpus(t *testing.T) []*testcase {
	t.Helper()
	files, err := filepath.Glob("cases/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	var all []*testcase
	seen := map[string]bool{}
	for _, file := range files {
		list, err := readCases(file)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, c := range list {
			if seen[c.name] {
				t.Fatalf("%s: a second case %s", file, c.name)
			}
			seen[c.name] = true
		}
		all = append(all, list...)
	}
	return all
}

// readCases reads the cases of one section.
func readCases(file string) ([]*testcase, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return nil, err
	}
	section := strings.TrimSuffix(filepath.Base(file), ".txtar")
	common := map[string]string{}
	var list []*testcase
	for _, f := range archive.Files {
		dir, name, inside := strings.Cut(f.Name, "/")
		switch {
		case !inside:
			c, err := parseCase(section, f.Name, string(f.Data))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Name, err)
			}
			c.context = maps.Clone(common)
			list = append(list, c)
		case dir == "context":
			common[name] = string(f.Data)
		case len(list) > 0 && list[len(list)-1].name == dir:
			list[len(list)-1].context[name] = string(f.Data)
		default:
			return nil, fmt.Errorf("%s stands behind no case %s", f.Name, dir)
		}
	}
	return list, nil
}

func parseCase(section, name, text string) (*testcase, error) {
	dockerfile, rest, ok := strings.Cut(text, separator)
	if !ok {
		return nil, errors.New("no line ====")
	}
	c := &testcase{section: section, name: name, dockerfile: unescape(dockerfile) + "\n"}
	for line := range strings.Lines(rest) {
		line = strings.TrimSuffix(line, "\n")
		word, value, _ := strings.Cut(line, " ")
		switch {
		case line == "" || strings.HasPrefix(line, "# "):
		case word == "args":
			c.args = append(c.args, strings.Fields(value)...)
		case word == "environ":
			c.environ = append(c.environ, value)
		case word == "needs":
			c.needs = append(c.needs, strings.Fields(value)...)
		case strings.HasPrefix(word, "+"):
			c.setup = append(c.setup, strings.Fields(line))
		default:
			c.wants = append(c.wants, want{word, value})
		}
	}
	if len(c.wants) == 0 {
		return nil, errors.New("nothing is expected")
	}
	return c, nil
}

// unescape makes the bytes that a text file shows badly: «CR» «TAB» «SP».
func unescape(text string) string {
	return strings.NewReplacer("«CR»", "\r", "«TAB»", "\t", "«SP»", " ", "«BOM»", "\ufeff").Replace(text)
}

// write lays out the context in a directory.
func (c *testcase) write(dir string) error {
	for name, data := range c.context {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(unescape(data)), 0o644); err != nil {
			return err
		}
	}
	for _, f := range c.setup {
		if err := lay(dir, f); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(f, " "), err)
		}
	}
	return nil
}

// lay does one "+" line.
func lay(dir string, f []string) error {
	if len(f) != 3 {
		return errors.New("want two words behind it")
	}
	switch f[0] {
	case "+link":
		return os.Symlink(f[2], filepath.Join(dir, f[1]))
	case "+hard":
		return os.Link(filepath.Join(dir, f[2]), filepath.Join(dir, f[1]))
	case "+mode", "+dir":
		mode, err := strconv.ParseUint(f[1], 8, 32)
		if err != nil {
			return err
		}
		name := filepath.Join(dir, f[2])
		if f[0] == "+dir" {
			if err := os.MkdirAll(name, 0o755); err != nil {
				return err
			}
		}
		return chmod(name, uint32(mode))
	}
	return errors.New("unknown")
}

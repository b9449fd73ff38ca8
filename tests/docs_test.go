package tests

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPages types the console blocks of the guides into one shell each, in order, and compares what is printed:
// "…" stands for any rest of a line, and alone in a line for any lines.
func TestPages(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"tutorial.md", "scripts.md"} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile("../docs/" + page)
			if err != nil {
				t.Fatal(err)
			}
			typed := console(string(text))
			if len(typed) < 5 {
				t.Fatalf("only %d commands", len(typed))
			}
			s := scripts.NewStore(t)
			scripts.Base(s, "docker.io/library/alpine")
			for i, got := range typeIn(t, s.Command("bash"), typed) {
				if !matches(typed[i].output, got) {
					t.Errorf("docs/%s: %s\nprints:\n%swhere the page says:\n%s", page, typed[i].command, got, typed[i].output)
				}
			}
		})
	}
}

// TestSecurityPage: the tests that docs/security.md names as proofs are there.
func TestSecurityPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, ".txtar"):
			there[strings.TrimSuffix(filepath.Base(path), ".txtar")] = true
		case strings.HasSuffix(path, "_test.go"):
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(text, -1) {
				there[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, row := range regexp.MustCompile(`(?m)^\|.*\|.*\|(.*)\|$`).FindAllSubmatch(page, -1) {
		for _, name := range regexp.MustCompile("`(Test\\w+|Fuzz\\w+|[a-z]+_[a-z_]+)`").FindAllSubmatch(row[1], -1) {
			if named++; !there[string(name[1])] {
				t.Errorf("docs/security.md names %s, which is no test", name[1])
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d tests are named", named)
	}
}

// TestLibraryPage: the programs that the guide to the packages shows are those that are compiled.
func TestLibraryPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/library.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range []string{"library/main.go", "../builder/example_test.go", "../imagebuildah/example_test.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
		code.WriteString(regexp.MustCompile(`(?m)^\t`).ReplaceAllString(string(text), ""))
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 4 {
		t.Errorf("only %d programs", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(code.String(), b[1]) {
			t.Errorf("docs/library.md shows what is compiled nowhere:\n%s", b[1])
		}
	}
}

// A typed command, with its continuation lines, and what the page says it prints.
type typed struct{ command, output string }

func console(page string) (list []typed) {
	for i, block := range strings.Split(page, "```console\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				list = append(list, typed{command: command})
				continue
			}
			last := &list[len(list)-1]
			if more, ok := strings.CutPrefix(line, "> "); ok {
				last.command += more
			} else {
				last.output += line
			}
		}
	}
	return list
}

// typeIn gives the commands to one shell and returns what each printed.
func typeIn(t *testing.T, shell *exec.Cmd, list []typed) []string {
	t.Helper()
	const mark = "--- next ---"
	var in strings.Builder
	for _, c := range list {
		fmt.Fprintf(&in, "%secho '%s'\n", c.command, mark)
	}
	shell.Stdin = strings.NewReader(in.String())
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	parts := strings.Split(string(out), mark+"\n")
	if len(parts) != len(list)+1 {
		t.Fatalf("%d commands, %d outputs:\n%s", len(list), len(parts)-1, out)
	}
	for i, text := range parts {
		if text != "" && !strings.HasSuffix(text, "\n") { // a template prints no newline of its own
			parts[i] += "\n"
		}
	}
	return parts[:len(list)]
}

func matches(want, got string) bool {
	var re strings.Builder
	for line := range strings.Lines(want) {
		line = strings.TrimRight(line, "\n ")
		if line == "…" {
			re.WriteString(`(?:.*\n)*`)
			continue
		}
		re.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	return regexp.MustCompile("^" + re.String() + "$").MatchString(got)
}

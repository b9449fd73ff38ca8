package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func tree() *cobra.Command {
	return newRoot(&globals{program: "slipway", env: env{func(string) (string, bool) { return "", false }}}, nil)
}

// TestCommandsExplainThemselves: every command has a summary and examples that begin with the program, every flag a text.
func TestCommandsExplainThemselves(t *testing.T) {
	t.Parallel()
	each(tree(), func(cmd *cobra.Command) {
		if cmd.Short == "" {
			t.Errorf("%s: no summary", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example + "\n") {
			if !strings.Contains(line, "slipway ") || strings.Contains(line, "PROGRAM") || !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q does not call the program", cmd.CommandPath(), line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" && !f.Hidden {
				t.Errorf("%s --%s: no help", cmd.CommandPath(), f.Name)
			}
		})
	})
}

// TestNamedCommands: where the arguments name a command, only that one is made, and it is the right one.
func TestNamedCommands(t *testing.T) {
	t.Parallel()
	for _, e := range entries() {
		for _, name := range strings.Fields(e.names) {
			root := newRoot(&globals{program: "slipway", env: env{os.LookupEnv}}, []string{"--root", "rm", name, "rm", "--help"})
			cmd, _, err := root.Find([]string{name})
			if err != nil || cmd.Name() != strings.Fields(e.names)[0] || len(root.Commands()) > 2 {
				t.Errorf("%s is found as %q of %d commands, %v", name, cmd.Name(), len(root.Commands()), err)
			}
		}
	}
}

// TestCommandPages: the committed reference is that of this program.
func TestCommandPages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "docs", "commands")
	want := referencePages("markdown")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := want[e.Name()]; !ok {
			t.Errorf("docs/commands/%s is of no command: run `make docs`", e.Name())
		}
	}
	for name, text := range want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
			t.Errorf("docs/commands/%s is stale: run `make docs`", name)
		}
	}
}

// TestFlagTypes: the flags of testdata/flags.txt parse, and what splits at commas or is given again is what scripts expect.
func TestFlagTypes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		path, flags, _ := strings.Cut(strings.TrimSpace(line), ": ")
		cmd, rest, err := tree().Find(strings.Fields(path))
		if err != nil || len(rest) > 0 {
			t.Errorf("%s: no such command", path)
			continue
		}
		for _, want := range strings.Fields(flags) {
			if problem := checkFlag(cmd, want); problem != "" {
				t.Errorf("%s %s: %s", path, want, problem)
			}
		}
	}
}

// checkFlag compares a flag with a line's word: [-s/]--name:type.
func checkFlag(cmd *cobra.Command, want string) string {
	names, kind, _ := strings.Cut(want, ":")
	short, long, both := strings.Cut(names, "/")
	if !both {
		short, long = "", names
	}
	f := cmd.Flags().Lookup(strings.TrimPrefix(long, "--"))
	switch {
	case f == nil:
		return "missing"
	case f.Shorthand != strings.TrimPrefix(short, "-"):
		return "another short name, " + f.Shorthand
	}
	got := "one"
	switch f.Value.Type() {
	case "bool":
		got = "bool"
	case "stringSlice":
		got = "list"
	case "stringArray":
		got = "array"
	}
	if got != kind {
		return "is " + got
	}
	return ""
}

// TestOldNames: former spellings parse where scripts use them.
func TestOldNames(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"from --net=host", "from --override-arch=arm64", "from --override-os=linux", "run --net=host", "run --tty",
		"build --net=host", "build --override-arch=arm64", "build --override-os=linux", "build --raw-iidfile=f",
		"manifest create --override-arch=arm64", "manifest add --override-os=linux", "manifest push --purge",
	} {
		words := strings.Fields(line)
		cmd, flags, err := tree().Find(words)
		if err == nil {
			err = cmd.ParseFlags(flags)
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestInvocation: what is typed, the exit status, and a part of what is printed (exact.md §cli.md §1).
func TestInvocation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		{"buildah", 0, "Usage:\n  buildah [flags] [command]\n"},
		{"slipway manifest", 0, "Usage:\n  slipway manifest [flags] [command]\n"},
		{"slipway tag --help", 0, "Usage:\n  slipway tag [flags] IMAGE NAME [NAME...]\n"},
		{"slipway ps --help", 0, "Aliases:\n  containers, list, ls, ps\n"},
		{"slipway bogus", 125, `Error: unknown command "bogus" for "slipway"`},
		{"slipway bogus --help", 125, `Error: unknown command "bogus" for "slipway"`},
		{"slipway help bogus", 125, `Error: unknown command "bogus" for "slipway"`},
		{"slipway manifest bogus", 125, `Error: unknown command "bogus" for "slipway manifest"`},
		{"slipway manifest bogus --help", 125, `Error: unknown command "bogus" for "slipway manifest"`},
		{"slipway help manifest bogus", 125, `Error: unknown command "bogus" for "slipway manifest"`},
		{"slipway system bogus -h", 125, `Error: unknown command "bogus" for "slipway system"`},
		{"slipway completion bogus", 125, `Error: unknown command "bogus" for "slipway completion"`},
		{"slipway imges", 125, "did you mean this? images"},
		{"slipway tag --bogus", 125, "Error: unknown flag: --bogus"},
		{"slipway build --no-cahce", 125, "Error: unknown flag: --no-cahce: did you mean this? --no-cache"},
		{"slipway tag -x", 125, "Error: unknown shorthand flag: 'x' in -x"},
		{"slipway rm a --all", 125, "Error: no options (--all) can be specified after the image or container name"},
		{"slipway build --cpu-shares bogus", 125, `Error: invalid argument "bogus" for "-c, --cpu-shares" flag`},
		{"slipway --log-level loud info", 125, `Error: unable to parse log level: not a valid logrus Level: "loud"`},
		{"slipway build a b", 125, "Error: accepts at most 1 arg(s), received 2"},
		{"slipway -v", 0, "slipway version "},
	} {
		var out bytes.Buffer
		code := run(strings.Fields(tt.line), os.Stdin, &out, &out)
		if code != tt.code || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: exit status %d, printed:\n%s", tt.line, code, out.String())
		}
		if tt.code != 0 && strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%s: more than one line:\n%s", tt.line, out.String())
		}
	}
}

// TestHelp: both ways to a command's help print the same, and no flag of the whole program.
func TestHelp(t *testing.T) {
	t.Parallel()
	each(tree(), func(cmd *cobra.Command) {
		words := strings.Fields(cmd.CommandPath())
		var one, two bytes.Buffer
		run(append(words, "--help"), os.Stdin, &one, &one)
		run(append([]string{"slipway", "help"}, words[1:]...), os.Stdin, &two, &two)
		if one.String() != two.String() {
			t.Errorf("%s: --help and help differ:\n%s\n%s", cmd.CommandPath(), one.String(), two.String())
		}
		if cmd.HasParent() && strings.Contains(one.String(), "--storage-driver") {
			t.Errorf("%s: the help repeats global flags", cmd.CommandPath())
		}
	})
}

func TestManPages(t *testing.T) {
	t.Parallel()
	pages := referencePages("man")
	for name, text := range pages {
		if to, ok := strings.CutPrefix(text, ".so man1/"); ok { // another name of a command
			if _, there := pages[strings.TrimSpace(to)]; !there {
				t.Errorf("%s: there is no %s", name, to)
			}
			continue
		}
		for _, section := range []string{".TH ", ".SH NAME\n", ".SH SYNOPSIS\n", ".SH OPTIONS\n", ".SH EXAMPLES\n"} {
			if !strings.Contains(text, section) {
				t.Errorf("%s: no %s", name, section)
			}
		}
	}
	if pages["slipway-bud.1"] != ".so man1/slipway-build.1\n" {
		t.Errorf("slipway-bud.1: %q", pages["slipway-bud.1"])
	}
	for _, part := range []string{".SH COMMANDS\n", "\\fBimages\\fR\nList images", ".SH EXIT STATUS\n", ".SH ENVIRONMENT\n", ".SH FILES\n"} {
		if !strings.Contains(pages["slipway.1"], part) {
			t.Errorf("slipway.1: no %q", part)
		}
	}
	if got := roff("a\\n\n.so x\n'y --z"); got != "a\\en\n\\&.so x\n\\&'y \\-\\-z" {
		t.Errorf("roff: %q", got)
	}
}

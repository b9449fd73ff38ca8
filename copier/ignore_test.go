package copier

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/tests/harness"
)

// FuzzIgnore: the walk's verdict on a path, made directory by directory, is that of BuildKit's library on the whole path; and a
// directory in which something is taken back is never passed by.
func FuzzIgnore(f *testing.F) {
	for _, seed := range [][2]string{
		{"**\n!a/b\n#c", "a/b"}, {"a\n!a/b\na/b/c", "a/b/c/d"}, {"a/*/c\n!**/d", "a/b/c/d"}, {"a**b\n!a*/x", "axb/x"}, {"[a-c]/?\n!\\!x", "b/x"}, {"**/a\n!**", "x/a/b"},
		{"a/**/b\n!a/x", "a/x/y/b"}, {"*\n!a?/**\n", "ab/c"}, {"a\n!!x\n!\\!y", "a/!x/y"}, {"a/..\n!./a//b/", "a/b"},
		{"^*\n!**/x.log", "y/x.log"}, {"\xff*", "\xfe"}, {"\ufeffa*", "ab"}, {"a**b\n!**/b", "ab"}, {"!a\n\\!x*", "!xy"}, {"a]*", "a]b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		name = trim(name)
		if len(name) > 200 || len(text) > 500 || strings.Count(text, "*") > 12 || name == "" || strings.Contains(name, "\x00") {
			return
		}
		i, err := ParseIgnore("ignore", strings.NewReader(text))
		if err != nil || i == nil {
			return
		}
		patterns, err := ignorefile.ReadAll(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			t.Fatal(err)
		}
		want, err := m.MatchesOrParentMatches(name)
		if err != nil {
			t.Fatalf("%q is taken, and fails: %v", text, err)
		}
		if got := i.Excluded(name); got != want {
			t.Fatalf("%q excludes %q: %v, the library says %v", text, name, got, want)
		}
		if want {
			return
		}
		for n := range name {
			if dir := name[:n]; name[n] == '/' && i.Excluded(dir) && !i.Within(dir) {
				t.Fatalf("%q takes %q back, but passes by %q", text, name, dir)
			}
		}
	})
}

// Thousands of patterns are no matter of minutes: an expression is only asked about a path that it may match. And the last one decides.
func TestManyPatterns(t *testing.T) {
	t.Parallel()
	var patterns []string
	for n := range 10000 {
		patterns = append(patterns, fmt.Sprintf([]string{"dir%d/file%d", "**/no%d-*.log%d", "dir%d/*/x%d", "!dir%d/file%d"}[n%4], n%100, n))
	}
	patterns = append(patterns, "**/a.log", "!dir7/**/a.log")
	i, err := NewIgnore(patterns)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20000 {
		if name := fmt.Sprintf("dir%d/sub/other%d", n%100, n); i.Excluded(name) {
			t.Fatalf("%s is excluded", name)
		}
	}
	for name, want := range map[string]bool{
		"dir0/file0": true, "dir3/file3": false, "a/no1-z.log1": true, "dir2/y/x2": true, "dir2/x2": false, "dir8/s/a.log": true, "dir7/s/a.log": false, "a.log": true,
	} {
		if got := i.Excluded(name); got != want {
			t.Errorf("%s: excluded is %v", name, got)
		}
	}
}

// An ignore file has an end.
func TestLongIgnore(t *testing.T) {
	t.Parallel()
	_, err := ParseIgnore("zeros", endless{})
	if err == nil || err.Error() != "ignore file zeros: longer than 4194304 bytes" {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// Symbolic modes are those of chmod(1) with a umask of 0, for everything that it and the specification both know.
func TestChmodLikeProgram(t *testing.T) {
	t.Parallel()
	harness.Need(t, "chmod")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{ // "=" leaves the sticky bit, in BuildKit's library, so that no perm below has it
		"u+x", "+x", "a=rX", "go=u", "g=o,o=", "u=g+x", "-w", "=", "u+s", "g+s", "+s", "u-s,g+s", "o+t", "+t", "a+t", "ug+rw,o-rwx", "u=rwxs", "go+X", "=rwx,g-w", "a-x+X", "u=,g=u,o=g", "uo=t", "g=s",
		"u=o+g", "ugo+rwxst", "o=s", "o+s",
	} {
		m, err := ParseChmod(text)
		if err != nil {
			t.Fatal(text, err)
		}
		for _, perm := range []os.FileMode{0o644, 0o755, 0o600, 0o751 | os.ModeSetuid, 0o777 | os.ModeSetgid, 0} {
			if err := os.Chmod(file, perm); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("sh", "-c", "umask 0; chmod -- "+text+" "+file).CombinedOutput()
			if err != nil {
				t.Fatalf("chmod %s: %s", text, out)
			}
			st, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := m.Apply(bits(perm), false), bits(st.Mode()); got != want {
				t.Errorf("%s on %o: %o, chmod says %o", text, bits(perm), got, want)
			}
		}
	}
}

func bits(m os.FileMode) uint32 {
	n := uint32(m.Perm())
	for special, bit := range map[os.FileMode]uint32{os.ModeSetuid: 0o4000, os.ModeSetgid: 0o2000, os.ModeSticky: 0o1000} {
		if m&special != 0 {
			n |= bit
		}
	}
	return n
}

// A directory in which nothing can be copied is not entered; one is in which something is taken back.
func TestNeverEntered(t *testing.T) {
	t.Parallel()
	src, _ := tree(t, map[string]string{"kept/a": "", "out/deep/a": "", "out/b": "", "half/in": "", "half/sub/x": "", "cache/x/y": "", "x.d/a": ""})
	ignore, err := ParseIgnore("ignore", strings.NewReader("out\nhalf\n!half/in\n**/*.d"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[uint64]string{}
	for _, name := range []string{".", "kept", "out", "out/deep", "half", "half/sub", "cache", "cache/x", "x.d"} {
		info, err := src.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		names[info.Ino] = name
	}
	var entered []string
	o := Options{Ignore: ignore, Excludes: []string{"cache"}, Avoid: func(d rootfs.Info) error { entered = append(entered, names[d.Ino]); return nil }}
	if _, err := Digest(context.Background(), src, []string{"."}, o); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(entered, " "); got != ". half kept" {
		t.Errorf("entered %s", got)
	}
}

package archtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestModule applies every rule to every package of this module.
func TestModule(t *testing.T) {
	pkgs, err := load(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(pkgs) < 5 {
		t.Fatalf("only %d packages found: the test looks in the wrong place", len(pkgs))
	}
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			for _, p := range pkgs {
				for _, line := range slices.Sorted(slices.Values(c.run(p))) {
					t.Error(line)
				}
			}
		})
	}
}

// TestChecks shows that each rule can fail, and on what.
func TestChecks(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, path, src string
		check           func(*pkg) []string
		want            string // part of the one finding; "" for none
	}{
		{"arrow against", "copier", `import _ "github.com/slipway-build/slipway/builder"`, checkArrows, "may not import builder"},
		{"arrow along", "builder", `import _ "github.com/slipway-build/slipway/copier/rootfs"`, checkArrows, ""},
		{"unknown tree", "pkg/x", ``, checkArrows, "no arrow"},
		{"pure package", "builder/config", `import _ "github.com/slipway-build/slipway/internal/early"`, checkArrows, "may not import"},
		{"cobra in builder", "builder", `import _ "github.com/spf13/cobra"`, checkConfinement, "belongs to cmd"},
		{"cobra in cmd", "cmd/slipway", `import _ "github.com/spf13/cobra"`, checkConfinement, ""},
		{"storage in cmd", "cmd/slipway", `import _ "github.com/containers/storage"`, checkConfinement, "belongs to builder"},
		{"storage's children in cmd", "cmd/slipway", `import _ "github.com/containers/storage/pkg/reexec"`, checkConfinement, ""},
		{"heavy early", "internal/early", `import _ "github.com/opencontainers/go-digest"`, checkLight, "starts early"},
		{"light early", "internal/early", "import _ \"os\"\nimport _ \"golang.org/x/sys/unix\"", checkLight, ""},
		{"no package comment", "builder", `var x = 1`, checkDocs, "no package comment"},
		{"init", "builder", `func init() {}`, checkInit, "init"},
		{"init early", "internal/early", `func init() {}`, checkInit, ""},
		{"counter", "builder", "var n int\nfunc f() { n++ }", checkState, "n is changed"},
		{"table filled", "builder", "var m = map[string]int{}\nfunc f() { m[\"a\"] = 1 }", checkState, "m is changed"},
		{"table read", "builder", "var m = map[string]int{\"a\": 1}\nfunc f() int { return m[\"a\"] }", checkState, ""},
		{"shadowed", "builder", "var n int\nfunc f() { n := 1; n = 2; _ = n }", checkState, ""},
		{"address", "builder", "var n int\nfunc f() *int { return &n }", checkState, "n is changed"},
		{"lock", "builder", "import \"sync\"\nvar mu sync.Mutex", checkState, "state"},
		{"getenv", "builder", "import \"os\"\nvar h = os.Getenv(\"HOME\")", checkTalk, "belongs to cmd"},
		{"getenv in cmd", "cmd/slipway", "import \"os\"\nvar h = os.Getenv(\"HOME\")", checkTalk, ""},
		{"unshare", "builder", "import \"golang.org/x/sys/unix\"\nvar f = unix.Unshare", checkBans, "clone flags"},
		{"unshareflags", "builder", "import \"syscall\"\nvar a = syscall.SysProcAttr{Unshareflags: 1}", checkBans, "clone flags"},
		{"fork bomb", "cmd/slipway", "var f = unshare.MaybeReexecUsingUserNamespace", checkBans, "without end"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.check(parse(t, tt.path, "package p\n"+tt.src+"\n"))
			switch {
			case tt.want == "" && len(got) > 0:
				t.Errorf("found %q, want nothing", got)
			case tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want)):
				t.Errorf("found %q, want one line with %q", got, tt.want)
			}
		})
	}
}

func TestUndocumented(t *testing.T) {
	t.Parallel()
	p := parse(t, "builder", `// Package p is documented.
package p

func Bare() {}

// Good has a comment.
func Good() {}

type Loose struct{}

func (Loose) Method()        {}
func (Loose) String() string { return "" }

type hidden struct{}

func (hidden) Method() {}

// Both are explained here.
const (
	A = 1
	B = 2
)

var C = 3
`)
	got := strings.Join(checkDocs(p), "\n")
	for _, name := range []string{"Bare", "Loose", "Method", "C"} {
		if !strings.Contains(got, ": "+name+" has") {
			t.Errorf("%s not reported in:\n%s", name, got)
		}
	}
	if n := strings.Count(got, "\n") + 1; n != 4 {
		t.Errorf("%d findings, want 4:\n%s", n, got)
	}
}

// parse makes a package of one file.
func parse(t *testing.T, path, src string) *pkg {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(src), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := loadDir(dir, path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

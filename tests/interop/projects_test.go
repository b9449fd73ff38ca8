package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/tests/harness"
)

// projects builds the Dockerfiles of projects.txtar on debian-base and runs what they made.
func projects(t *testing.T, s *harness.Store) {
	archive, err := txtar.ParseFile("projects.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	var names []string
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
		file := filepath.Join(s.Dir, "projects", f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		if name, _, _ := strings.Cut(f.Name, "/"); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	lines := func(file string) []string {
		return strings.FieldsFunc(files[file], func(r rune) bool { return r == '\n' })
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := s.With(t)
			cmd := s.Command(slices.Concat([]string{s.Bin, "build", "-q", "-t", name}, lines(name+"/flags"), []string{"."})...)
			cmd.Dir = filepath.Join(s.Dir, "projects", name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			s.Slipway("from", "--name", name, name)
			got := s.Slipway(append([]string{"run", name, "--"}, lines(name+"/command")...)...)
			if want := strings.TrimSuffix(files[name+"/want"], "\n"); got != want {
				t.Errorf("it printed %q, want %q", got, want)
			}
			s.Slipway("rm", name)
		})
	}
}

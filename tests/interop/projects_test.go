package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-build/slipway/tests/harness"
)

// A project is a directory of projects.txtar.
type project struct {
	name, dir      string
	flags, command []string
	want           string
}

// unpackProjects writes the projects below a directory.
func unpackProjects(t *testing.T, dir string) (list []project) {
	t.Helper()
	archive, err := txtar.ParseFile("projects.txtar")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
		file := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(f.Name, "/")
		if !slices.ContainsFunc(list, func(p project) bool { return p.name == name }) {
			list = append(list, project{name: name, dir: filepath.Join(dir, name)})
		}
	}
	lines := func(text string) []string { return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }) }
	for i := range list {
		p := &list[i]
		p.flags, p.command = lines(files[p.name+"/flags"]), lines(files[p.name+"/command"])
		p.want = strings.TrimSuffix(files[p.name+"/want"], "\n")
	}
	return list
}

// projects builds the Dockerfiles of projects.txtar on debian-base and runs what they made.
func projects(t *testing.T, s *harness.Store) {
	for _, p := range unpackProjects(t, filepath.Join(s.Dir, "projects")) {
		t.Run(p.name, func(t *testing.T) {
			p.check(t, s.With(t))
		})
	}
}

// check builds a project and runs what it made.
func (p project) check(t *testing.T, s *harness.Store) {
	t.Helper()
	slipway := func(args ...string) *exec.Cmd { return s.Command(s.Argv(args...)...) }
	build := slipway(slices.Concat([]string{"build", "-q", "-t", p.name}, p.flags, []string{"."})...)
	build.Dir = p.dir
	from := slipway("from", "--name", p.name, p.name)
	run := slipway(slices.Concat([]string{"run", p.name, "--"}, p.command)...)
	for _, cmd := range []*exec.Cmd{build, from} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	out, err := run.CombinedOutput()
	if got := strings.TrimSuffix(string(out), "\n"); err != nil || got != p.want {
		t.Errorf("%v: it printed %q, want %q", err, got, p.want)
	}
	if out, err := slipway("rm", p.name).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// userProjects builds projects that need nothing of the network as an ordinary user, with subordinate ids and with one id only. Files
// of theirs have many owners, and commands run as other users.
func userProjects(t *testing.T, s *harness.Store) {
	harness.Need(t, "users", "newuidmap", "setpriv")
	layout := publicLayout(s, "debian-base")
	for _, kind := range []string{"ranges", "single"} {
		t.Run(kind, func(t *testing.T) { projectsOf(t, kind, layout) })
	}
}

// publicLayout is a layout of an image that everybody may read: a store's own directory is closed to others.
func publicLayout(s *harness.Store, image string) string {
	layout := filepath.Join(shared.Dir, image+"-layout")
	s.T.Cleanup(func() { _ = os.RemoveAll(layout) })
	s.Slipway("push", "-q", "--disable-compression", image, "oci:"+layout+":latest")
	s.Run("chmod", "-R", "a+rX", layout)
	return layout
}

func projectsOf(t *testing.T, kind, layout string) {
	s := shared.NewUserStore(t, kind)
	s.Slipway("tag", s.Slipway("pull", "-q", "oci:"+layout+":latest"), "debian-base")
	for _, p := range unpackProjects(t, filepath.Join(s.Dir, "projects")) {
		if slices.Contains([]string{"c-shared", "deb", "perl", "caches", "site"}, p.name) {
			t.Run(p.name, func(t *testing.T) { p.check(t, s.With(t)) })
		}
	}
}

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

// TestBuildah: one store, two tools. Each lists and uses what the other made.
func TestBuildah(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root", "buildah")
	s := shared.NewStore(t)
	shared.Base(s, "base")

	t.Run("theirs is a base for ours", func(t *testing.T) {
		s := s.With(t)
		s.Buildah("from", "--name", "theirs", "base")
		s.Buildah("config", "--label", "by=buildah", "theirs")
		s.Buildah("commit", "-q", "theirs", "their-image")
		ours := s.Slipway("from", "their-image")
		s.Slipway("run", ours, "--", "sh", "-c", "echo ours >/ours")
		s.Slipway("commit", "-q", ours, "ours-on-theirs")
		contains(t, s.Buildah("inspect", "--type", "image", "ours-on-theirs"), `"by": "buildah"`)
	})
	t.Run("ours is a base for theirs", func(t *testing.T) {
		s := s.With(t)
		c := s.Buildah("from", "ours-on-theirs")
		if out := s.Buildah("run", "--isolation", "chroot", c, "--", "cat", "/ours"); out != "ours" {
			t.Errorf("buildah read %q", out)
		}
		s.Buildah("commit", "-q", c, "theirs-on-ours")
		again := s.Slipway("from", "theirs-on-ours")
		if out := s.Slipway("run", again, "--", "cat", "/ours"); out != "ours" {
			t.Errorf("slipway read %q", out)
		}
	})
	t.Run("both list both", func(t *testing.T) {
		s := s.With(t)
		mine := s.Slipway("from", "--name", "mine-to-list", "base")
		theirs := s.Buildah("from", "--name", "theirs-to-list", "base")
		format := "{{.Builder}} {{.ContainerName}}"
		for who, list := range map[string]string{"buildah": s.Buildah("containers", "--format", format), "slipway": s.Slipway("containers", "--format", format)} {
			for _, name := range []string{mine, theirs} {
				if !strings.Contains(list, name) {
					t.Errorf("%s does not list %s:\n%s", who, name, list)
				}
			}
		}
		s.Buildah("config", "--env", "SET_BY=buildah", mine)
		contains(t, s.Slipway("inspect", "--format", "{{.OCIv1.Config.Env}}", mine), "SET_BY=buildah")
		s.Slipway("config", "--env", "SET_BY=slipway", theirs)
		contains(t, s.Buildah("inspect", "--format", "{{.OCIv1.Config.Env}}", theirs), "SET_BY=slipway")
	})
}

// TestForeignRemoval: a container of ours protects its base from the other tools.
func TestForeignRemoval(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root", "buildah", "podman")
	s := shared.NewStore(t)
	shared.Base(s, "base")
	s.Slipway("from", "--name", "c", "base")
	removals := [][]string{
		{"buildah", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay", "rmi", "base"},
		{"podman", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay", "rmi", "base"},
		{"podman", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay", "image", "prune", "-a", "-f"},
	}
	for _, argv := range removals {
		// The first two must fail; a prune may succeed, but without our base.
		if out, _, err := s.Try(argv...); err == nil && strings.HasSuffix(strings.Join(argv, " "), "rmi base") {
			t.Errorf("%s removed the base of a working container: %s", argv[0], out)
		}
		if out := s.Slipway("run", "c", "--", "echo", "alive"); out != "alive" {
			t.Fatalf("after %s: %q", strings.Join(argv, " "), out)
		}
	}
	s.Slipway("commit", "-q", "--rm", "c", "made")
}

// TestBuildahReadsOurRecord: everything that config sets survives the other tool.
func TestBuildahReadsOurRecord(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root", "buildah")
	s := shared.NewStore(t)
	shared.Base(s, "base")
	s.Slipway("from", "--name", "c", "base")
	s.Slipway("config", "--env", "A=b", "--cmd", "x y", "--user", "joe", "--workingdir", "/srv", "--port", "80", "--volume", "/v", "--label", "k=v", "c")
	if err := os.WriteFile(filepath.Join(s.Dir, "file"), []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Slipway("copy", "-q", "c", "file", "/file")
	s.Buildah("commit", "-q", "c", "committed-by-buildah")
	out := s.Slipway("inspect", "--type", "image", "--format",
		"{{.OCIv1.Config.User}} {{.OCIv1.Config.WorkingDir}} {{.OCIv1.Config.Cmd}} {{.OCIv1.Config.ExposedPorts}} {{.OCIv1.Config.Volumes}} {{.OCIv1.Config.Labels}}", "committed-by-buildah")
	for _, part := range []string{"joe /srv [x y]", "80", "/v", "k:v"} {
		contains(t, out, part)
	}
}

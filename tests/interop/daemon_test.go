package interop

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/tests/harness"
)

// TestDockerDaemon: images go to Docker's daemon and come from it, to and from each other transport, with one ID everywhere.
func TestDockerDaemon(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	s := shared.NewStore(t)
	own, err := harness.StartDocker(filepath.Join(s.Dir, "docker"))
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Stop)
	s.Extra = append(s.Extra, "DOCKER_HOST="+own.Host)
	registry := regtest.Start(regtest.Options{})
	defer registry.Close()
	daemonMatrix(t, s, own, registry.Host())
	daemonContainers(t, s, own)
}

// daemonMatrix copies one image on and on.
func daemonMatrix(t *testing.T, s *harness.Store, own *harness.Docker, registry string) {
	t.Helper()
	shared.Base(s, "base")
	id := "sha256:" + s.Slipway("commit", "-q", "--rm", s.Slipway("from", "base"), "made")
	remote := "docker://" + registry + "/app:1"
	for _, way := range [][2]string{
		{"made", "docker-daemon:app:1"}, {"docker-daemon:app:1", "oci:layout:1"}, {"oci:layout:1", "docker-daemon:app:2"},
		{"docker-daemon:app:2", "docker-archive:a.tar:some/app:1"}, {"docker-archive:a.tar", "docker-daemon:app:3"},
		{"docker-daemon:app:3", remote}, {remote, "docker-daemon:app:4"}, {"docker-daemon:app:4", "dir:d"}, {"dir:d", "oci-archive:o.tar"},
		{"oci-archive:o.tar", "docker-daemon:app:5"}, {"docker-daemon:" + id, "docker-daemon:app:6"},
	} {
		s.Slipway("push", "-q", "--tls-verify=false", way[0], way[1])
		if dest := way[1]; strings.HasPrefix(dest, "docker-daemon:") {
			name := strings.TrimPrefix(dest, "docker-daemon:")
			if got := s.Run(own.CLI, "images", "-q", "--no-trunc", name); got != id {
				t.Errorf("%s -> %s: image %q, want %q", way[0], dest, got, id)
			}
		}
	}
	if got := "sha256:" + s.Slipway("inspect", "--format", "{{.FromImageID}}", "docker-daemon:app:6"); got != id {
		t.Errorf("inspect says %s, want %s", got, id)
	}
	s.Slipway("rmi", "-a")
	for _, name := range []string{"docker-daemon:app:1", "docker-daemon:" + id} {
		if got := "sha256:" + s.Slipway("pull", "-q", name); got != id {
			t.Errorf("pull %s: %s, want %s", name, got, id)
		}
	}
}

// daemonContainers makes a container of a daemon's image, and an image of the container there, which the daemon runs.
func daemonContainers(t *testing.T, s *harness.Store, own *harness.Docker) {
	t.Helper()
	c := s.Slipway("from", "docker-daemon:app:1")
	if c != "app-working-container" {
		t.Errorf("container %q", c)
	}
	s.Slipway("run", c, "--", "sh", "-c", "echo made here > /made")
	s.Slipway("commit", "-q", c, "docker-daemon:made:1")
	if got := s.Run(own.CLI, "run", "--rm", "--network", "none", "made:1", "cat", "/made"); got != "made here" {
		t.Errorf("the daemon's container says %q", got)
	}
	for name, text := range map[string]string{"docker-daemon:untagged": "neither a tag nor a digest", "docker-daemon:UPPER:1": "must be lowercase"} {
		if _, stderr, err := s.Try(s.Argv("push", "-q", "docker-daemon:app:1", name)...); err == nil || !strings.Contains(stderr, text) {
			t.Errorf("push to %s: %v, %q", name, err, stderr)
		}
	}
	if _, stderr, err := s.Try(s.Argv("pull", "-q", "docker-daemon:none:1")...); err == nil || strings.Count(stderr, "\n") != 1 {
		t.Errorf("pull of what is not there: %v, %q", err, stderr)
	}
}

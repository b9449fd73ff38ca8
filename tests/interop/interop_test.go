// Package interop checks Slipway together with the other tools of the field, as
// Debian packages them: what one makes, the others must list, read and run.
package interop

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/tests/harness"
)

func TestMain(m *testing.M) {
	if os.Args[0] == measurer {
		os.Exit(measure(os.Args[1:]))
	}
	os.Exit(harness.Main(m, &shared))
}

// shared is set by TestMain before any test runs.
var shared *harness.Harness

// debianTar returns a Debian root file system as a tar archive; see [harness.DebianTar].
func debianTar(t *testing.T) string {
	t.Helper()
	harness.Need(t, "root", "mmdebstrap")
	name, err := harness.DebianTar()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// startRegistry runs Debian's docker-registry on a free port of the loopback and
// returns its host.
func startRegistry(t *testing.T, s *harness.Store) string {
	t.Helper()
	harness.Need(t, "docker-registry")
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := probe.Addr().String()
	probe.Close()
	config := filepath.Join(s.Dir, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n", filepath.Join(s.Dir, "registry"), host)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Both only fail when it is gone already.
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host
		} else if time.Now().After(deadline) {
			t.Fatal("docker-registry does not answer")
		}
	}
}

// contains fails the test when text lacks part.
func contains(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in:\n%s", part, text)
	}
}

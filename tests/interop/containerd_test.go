package interop

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/tests/harness"
)

// A containerd is one that a test started, with directories and a socket of its own, and all that kubelets ask for.
type containerd struct {
	s      *harness.Store
	socket string
}

// startContainerd starts it. The image "pause", whose command sleeps, is loaded from an archive: it holds a pod's namespaces.
func startContainerd(t *testing.T, s *harness.Store, pause string) *containerd {
	t.Helper()
	harness.Need(t, "root", "containerd", "ctr", "runc")
	dir := filepath.Join(s.Dir, "containerd")
	c := &containerd{s: s.With(t), socket: dir + "/sock"}
	text := fmt.Sprintf(`version = 2
root = %q
state = %q
# They are for directories and devices of this machine.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true # a container's root may not lower it
  sandbox_image = "localhost/pause:1"
  disable_tcp_service = true
`, dir+"/root", dir+"/state", c.socket)
	config := filepath.Join(dir, "config.toml")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := c.s.Command("containerd", "--config", config)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killShims(c.socket)
		// It only fails when it is gone already.
		_ = cmd.Process.Signal(unix.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, _, err := c.s.Try("ctr", "--address", c.socket, "version"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("containerd does not answer:\n%s", log.String())
		}
	}
	c.ctr("images", "import", pause)
	return c
}

// killShims ends what containerd has left of containers: its shims know the socket.
func killShims(socket string) {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range list {
		text, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(filepath.Base(string(text)), "containerd-shim") || !bytes.Contains(text, []byte(socket)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL) // gone already
		}
	}
}

// ctr runs containerd's own client in the namespace of kubelets.
func (c *containerd) ctr(args ...string) string {
	c.s.T.Helper()
	return c.s.Run(append([]string{"ctr", "--address", c.socket, "--namespace", "k8s.io"}, args...)...)
}

// kubelet pulls an image and runs a command in it as the kubelet does for a restricted pod, and returns what the command printed.
func (c *containerd) kubelet(creds, image string, argv ...string) string {
	c.s.T.Helper()
	client := filepath.Join(c.s.Dir, "cri")
	build := exec.Command("go", "build", "-modfile=tests/kube/kube.mod", "-tags=kube", "-o", client, "./tests/kube/cri")
	build.Dir = repository(c.s.T)
	if out, err := build.CombinedOutput(); err != nil {
		if harness.Required() {
			c.s.T.Fatalf("the client for the container runtime interface: %v\n%s", err, out)
		}
		c.s.T.Skipf("needs the modules of tests/kube/kube.mod: %v\n%s", err, out)
	}
	return c.s.Run(append([]string{client, c.socket, creds, image, c.s.Dir + "/log"}, argv...)...)
}

package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/tests/harness"
)

// docker is `docker build` with BuildKit, through a daemon: the one that DOCKER_HOST names, or one of its own where dockerd and
// containerd are installed. Some Dockerfiles end Debian's daemon: it is started again for the next case.
type docker struct {
	t    *testing.T
	cli  string
	own  func() error // starts the daemon, nil for a given one
	sock string
}

func (d *docker) prepare(t *testing.T, l *lab) error {
	d.t, d.cli = t, "docker"
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		if err := d.start(l.store); err != nil {
			return err
		}
		host = "unix://" + d.sock
	}
	l.store.Extra = append(l.store.Extra, "DOCKER_HOST="+host, "DOCKER_BUILDKIT=1", "BUILDKIT_PROGRESS=plain")
	return d.load(l, "base")
}

// load gives the daemon an image of the store.
func (d *docker) load(l *lab, name string) error {
	file := filepath.Join(l.store.Dir, name+".tar")
	defer os.Remove(file)
	l.store.Slipway("push", "-q", name, "docker-archive:"+file+":"+name+":latest")
	l.store.Run(d.cli, "load", "-i", file)
	return nil
}

func (d *docker) command(_ *lab, c *testcase, context string) []string {
	if d.own != nil && !answers(d.sock) {
		if err := d.own(); err != nil {
			d.t.Fatal(err)
		}
	}
	return append(append([]string{d.cli, "build", "--network", "none", "-t", c.name}, c.args...), context)
}

// fetch gets the image through an archive; one without layers, which the daemon can't save, is as `docker inspect` says.
func (d *docker) fetch(l *lab, c *testcase) (config []byte, err error) {
	file := filepath.Join(l.store.Dir, c.name+".tar")
	defer os.Remove(file)
	_, stderr, err := l.store.Try(d.cli, "save", "-o", file, c.name)
	if err != nil && strings.Contains(stderr, "empty export") {
		return d.inspect(l, c.name)
	}
	if err != nil {
		return nil, fmt.Errorf("docker save: %w: %s", err, stderr)
	}
	if _, stderr, err := l.store.Try(l.store.Bin, "pull", "-q", "docker-archive:"+file); err != nil {
		return nil, fmt.Errorf("pull: %w: %s", err, stderr)
	}
	return nil, nil
}

func (d *docker) inspect(l *lab, name string) ([]byte, error) {
	text, stderr, err := l.store.Try(d.cli, "image", "inspect", name)
	if err != nil {
		return nil, fmt.Errorf("docker inspect: %w: %s", err, stderr)
	}
	steps, stderr, err := l.store.Try(d.cli, "history", "--no-trunc", "--format", "{{.CreatedBy}}", name)
	if err != nil {
		return nil, fmt.Errorf("docker history: %w: %s", err, stderr)
	}
	var found []map[string]any
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return nil, err
	}
	history := []map[string]any{}
	for by := range strings.Lines(steps) {
		history = append([]map[string]any{{"created_by": by, "empty_layer": true}}, history...)
	}
	delete(found[0], "RootFS")
	found[0]["History"] = history
	return json.Marshal(found[0])
}

// history is whether there is a layer: BuildKit writes the rest in another form.
func (d *docker) history(entry string) string { return entry[:1] }

func (d *docker) leaves() []string { return nil }

func (d *docker) version(l *lab) string {
	return l.store.Run(d.cli, "version", "--format", "{{.Server.Version}}")
}

// start starts containerd and dockerd with all that is theirs below the store's directory; they touch no network. They stop
// with the test.
func (d *docker) start(s *harness.Store) error {
	dockerd, err1 := exec.LookPath("dockerd")
	containerd, err2 := exec.LookPath("containerd")
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("%w (Debian's docker.io and containerd are the peer; or DOCKER_HOST names a daemon)", err)
	}
	if near := filepath.Join(filepath.Dir(dockerd), "../bin/docker"); isFile(near) { // another docker may come first in PATH
		d.cli = near
	}
	dir := filepath.Join(s.Dir, "docker")
	conf := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		dir+"/containerd", dir+"/state", dir+"/c.sock")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/containerd.toml", []byte(conf), 0o600)); err != nil {
		return err
	}
	if err := d.daemon(s, dir+"/c.sock", containerd, "--config", dir+"/containerd.toml"); err != nil {
		return err
	}
	d.sock = dir + "/d.sock"
	d.own = func() error {
		return d.daemon(s, d.sock, dockerd, "--containerd", dir+"/c.sock", "--data-root", dir+"/data", "--exec-root", dir+"/exec",
			"-H", "unix://"+d.sock, "--pidfile", dir+"/d.pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
			"--ip-forward=false", "--ip-masq=false", "--storage-driver", "overlay2")
	}
	return d.own()
}

// daemon starts a program and waits until its socket answers.
func (d *docker) daemon(s *harness.Store, socket string, argv ...string) error {
	out, err := os.Create(socket + ".log")
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := s.Command(argv...)
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(argv[0])+":"+filepath.Join(filepath.Dir(argv[0]), "../bin")+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	for range 600 {
		if answers(socket) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	text, _ := os.ReadFile(out.Name())
	return fmt.Errorf("%s does not answer: %s", argv[0], text)
}

func answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

package harness

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Docker is a dockerd with a containerd, both started for us, in a directory of their own. They touch no network.
type Docker struct {
	// CLI is the client that belongs to the daemon, Host the value of its DOCKER_HOST.
	CLI, Host string
	dir       string
	runs      string // where running things are noted
	dockerd   string
	running   map[string]*process // by socket
}

type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// StartDocker starts the daemons that are in PATH (Debian's docker.io and containerd, installed or unpacked somewhere), as root. The
// caller stops them. The error says what is missing.
func StartDocker(dir string) (d *Docker, err error) {
	dockerd, err1 := exec.LookPath("dockerd")
	containerd, err2 := exec.LookPath("containerd")
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("%w (Debian's docker.io and containerd are the peer)", err)
	}
	d = &Docker{CLI: "docker", Host: "unix://" + dir + "/d.sock", dir: dir, dockerd: dockerd, running: map[string]*process{}}
	near := filepath.Join(filepath.Dir(dockerd), "../bin/docker") // another docker may come first in PATH
	if info, err := os.Stat(near); err == nil && info.Mode().IsRegular() {
		d.CLI = near
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if d.runs, err = RunDir(dir + "/runs"); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		dir+"/containerd", d.runs+"/state", dir+"/c.sock")
	if err := os.WriteFile(dir+"/containerd.toml", []byte(conf), 0o600); err != nil {
		return nil, err
	}
	if err = d.daemon(dir+"/c.sock", containerd, "--config", dir+"/containerd.toml"); err == nil {
		err = d.Revive()
	}
	if err != nil {
		d.Stop()
		return nil, err
	}
	return d, nil
}

// Revive starts dockerd again if it has ended, as some Dockerfiles make Debian's do.
func (d *Docker) Revive() error {
	sock := d.dir + "/d.sock"
	if answers(sock) {
		return nil
	}
	return d.daemon(sock, d.dockerd, "--containerd", d.dir+"/c.sock", "--data-root", d.dir+"/data", "--exec-root", d.runs+"/exec",
		"-H", "unix://"+sock, "--pidfile", d.dir+"/d.pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
		"--ip-forward=false", "--ip-masq=false", "--storage-driver", "overlay2")
}

// daemon starts a program and waits until its socket answers.
func (d *Docker) daemon(socket string, argv ...string) error {
	out, err := os.Create(socket + ".log")
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec // daemons that we found
	bin := filepath.Dir(argv[0])
	cmd.Env = []string{"PATH=" + bin + ":" + filepath.Join(bin, "../bin") + ":" + os.Getenv("PATH"), "HOME=" + d.dir, "TMPDIR=" + d.dir}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd, make(chan struct{})}
	d.running[socket] = p
	go func() { _ = cmd.Wait(); close(p.ended) }()
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

// Stop stops the daemons, dockerd first.
func (d *Docker) Stop() {
	for _, socket := range []string{d.dir + "/d.sock", d.dir + "/c.sock"} {
		if p := d.running[socket]; p != nil {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
			<-p.ended
		}
	}
	_ = os.RemoveAll(d.runs)
}

// CPU is what the daemons, and what they started and waited for, have used so far.
func (d *Docker) CPU() (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	var total time.Duration
	for _, p := range d.running {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(text[strings.LastIndex(string(text), ")")+1:]))
		if len(fields) < 15 {
			return 0, fmt.Errorf("/proc/%d/stat: %q", p.cmd.Process.Pid, text)
		}
		for _, field := range fields[11:15] { // utime, stime, and those of the children
			var n int64
			if _, err := fmt.Sscan(field, &n); err != nil {
				return 0, err
			}
			total += time.Duration(n) * tick
		}
	}
	return total, nil
}

// RunDir makes a directory for what tools note of running things: on a tmpfs, as where tools are installed, or beside dir without one.
func RunDir(dir string) (string, error) {
	const shared = "/dev/shm"
	var st unix.Statfs_t
	if unix.Statfs(shared, &st) == nil && st.Type == unix.TMPFS_MAGIC && unix.Access(shared, unix.W_OK) == nil {
		dir = filepath.Join(shared, "sw-")
	}
	return os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir))
}

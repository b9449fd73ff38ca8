package harness

import (
	"bytes"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/internal/tree"
)

// A Store is a store of its own with what a program needs to work in it, for
// checks that are written in Go because they compare several tools.
type Store struct {
	T             *testing.T
	Bin           string
	Dir           string // everything is below it; removed at the end of the test
	Root, RunRoot string
	Extra         []string // more of the environment
	As            []string // what a command of ours is started with, to be an ordinary user's
}

// NewStore makes an empty store for one test.
func (h *Harness) NewStore(t *testing.T) *Store {
	t.Helper()
	dir, err := os.MkdirTemp(h.Dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Unmount(dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s := &Store{T: t, Bin: h.Bin, Dir: dir, Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "r")}
	for _, name := range []string{"home", "xdg", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// NewUserStore makes an empty store of the user slipway-KIND, as whom Slipway runs.
func (h *Harness) NewUserStore(t *testing.T, kind string) *Store {
	t.Helper()
	u, err := user.Lookup("slipway-" + kind)
	if err != nil {
		t.Fatal(err)
	}
	s := h.NewStore(t)
	s.As = []string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups"}
	s.Run("chown", "-R", u.Uid+":"+u.Gid, s.Dir)
	t.Cleanup(func() { _ = s.Command(s.Argv("unshare", "rm", "-rf", s.Root, s.RunRoot)...).Run() }) // what ids of the ranges own
	return s
}

// Argv is the command line of our binary.
func (s *Store) Argv(args ...string) []string { return slices.Concat(s.As, []string{s.Bin}, args) }

// With returns the same store for a sub-test, which then is what fails.
func (s *Store) With(t *testing.T) *Store {
	sub := *s
	sub.T = t
	return &sub
}

// Command returns a program that has the store's environment and directory.
func (s *Store) Command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = s.Dir
	cmd.Env = append([]string{
		"PATH=" + filepath.Dir(s.Bin) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + filepath.Join(s.Dir, "home"), "XDG_RUNTIME_DIR=" + filepath.Join(s.Dir, "xdg"), "TMPDIR=" + filepath.Join(s.Dir, "tmp"),
		"SLIPWAY_ROOT=" + s.Root, "SLIPWAY_RUNROOT=" + s.RunRoot, "STORAGE_DRIVER=overlay",
		"CONTAINERS_CONF=" + s.peerConf(),
	}, s.Extra...)
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

// peerConf writes the containers.conf that older tools of the family need where
// the hard limits cannot be raised; ours reads it too and must cope.
func (s *Store) peerConf() string {
	name := filepath.Join(s.Dir, "containers.conf")
	const conf = "[containers]\ndefault_ulimits=[\"nofile=1024:4096\",\"nproc=10000:10000\"]\n"
	if _, err := os.Stat(name); err == nil {
		return name // written again it would be empty for a moment, for what runs beside
	}
	if err := os.WriteFile(name, []byte(conf), 0o644); err != nil {
		s.T.Fatal(err)
	}
	return name
}

// Run runs a program that must succeed, and returns its trimmed stdout.
func (s *Store) Run(argv ...string) string {
	s.T.Helper()
	out, errors, err := s.Try(argv...)
	if err != nil {
		s.T.Fatalf("%s: %v\nstdout: %s\nstderr: %s", strings.Join(argv, " "), err, out, errors)
	}
	return out
}

// Try runs a program and returns its trimmed stdout, its stderr and its fate.
func (s *Store) Try(argv ...string) (stdout, stderr string, err error) {
	var out, msg bytes.Buffer
	cmd := s.Command(argv...)
	cmd.Stdout, cmd.Stderr = &out, &msg
	start := time.Now()
	err = cmd.Run()
	s.T.Logf("%.2fs %s", time.Since(start).Seconds(), strings.Join(argv, " "))
	return strings.TrimSpace(out.String()), msg.String(), err
}

// Slipway runs our binary, which must succeed.
func (s *Store) Slipway(args ...string) string {
	s.T.Helper()
	return s.Run(s.Argv(args...)...)
}

// Buildah runs Debian's buildah on the same store.
func (s *Store) Buildah(args ...string) string {
	s.T.Helper()
	return s.Run(append([]string{"buildah", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay"}, args...)...)
}

// Podman runs podman on the same store. The flags are what version 4.3 needs on a
// machine without systemd; runc, since crun refuses hybrid cgroups.
func (s *Store) Podman(args ...string) string {
	s.T.Helper()
	return s.Run(append([]string{"podman", "--root", s.Root, "--runroot", s.RunRoot, "--storage-driver", "overlay",
		"--runtime", "runc", "--cgroup-manager", "cgroupfs"}, args...)...)
}

// Base puts a small image with the machine's tools into the store.
func (h *Harness) Base(s *Store, name string) {
	s.T.Helper()
	t, err := h.base()
	if err != nil {
		s.T.Fatal(err)
	}
	layout := filepath.Join(s.Dir, "layouts", name)
	if err := tree.Layout(layout, tree.Config{"Env": []string{"PATH=/usr/bin:/bin"}, "Cmd": []string{"sh"}}, t); err != nil {
		s.T.Fatal(err)
	}
	run := func(args ...string) (string, error) { return s.Slipway(args...), nil }
	if err := load(run, layout, name); err != nil {
		s.T.Fatal(err)
	}
}

// load pulls a layout's image into a store under exactly one name.
func load(slipway func(args ...string) (string, error), layout, name string) error {
	id, err := slipway("pull", "-q", "oci:"+layout+":latest")
	if err != nil {
		return err
	}
	if _, err := slipway("tag", strings.TrimSpace(id), name); err != nil {
		return err
	}
	// The pull may have named the image after the layout's path.
	names, err := slipway("images", "-a", "-n", "--format", "{{.Name}}:{{.Tag}}")
	for line := range strings.Lines(names) {
		if other := strings.TrimSpace(line); strings.Contains(other, "/layouts/") {
			if _, err := slipway("rmi", other); err != nil {
				return err
			}
		}
	}
	return err
}

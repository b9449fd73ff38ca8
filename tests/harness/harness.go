// Package harness runs end-to-end scripts (testscript, *.txtar) against the built
// slipway binary. A script gets a store, a home and a temporary directory of its
// own; commands.go has the commands and conditions that scripts have beside
// testscript's, and tests/script/README.md explains them to who writes one.
//
// A missing peer (podman, runc …) skips a script with its reason; with CI=true or
// SLIPWAY_TEST_ALL=1 it fails it.
package harness

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/internal/tree"
)

// A Harness holds what all scripts of a test process share: the binary and the
// directory below which they work. Every user may enter both.
type Harness struct {
	Bin string // the slipway binary
	Dir string // a temporary directory with mode 0755

	base func() (tree.Tree, error)
}

// New prepares a Harness: it takes the binary that $SLIPWAY_BIN names or builds
// it. The caller calls Close.
func New() (*Harness, error) {
	dir, err := os.MkdirTemp("", "sw-") // short: podman refuses long run roots
	if err != nil {
		return nil, err
	}
	h := &Harness{Dir: dir, Bin: filepath.Join(dir, "bin", "slipway")}
	h.base = sync.OnceValues(func() (tree.Tree, error) { return tree.Machine(tree.Tools()...) })
	if err := errorsFirst(os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(h.Bin), 0o755)); err != nil {
		return nil, err
	}
	if ready := os.Getenv("SLIPWAY_BIN"); ready != "" {
		body, err := os.ReadFile(ready)
		if err != nil {
			return nil, fmt.Errorf("reading $SLIPWAY_BIN: %w", err)
		}
		return h, os.WriteFile(h.Bin, body, 0o755)
	}
	return h, compile("./cmd/slipway", h.Bin)
}

// compile builds the program of a package of this repository.
func compile(pkg, file string) error {
	build := exec.Command("go", "build", "-tags=containers_image_openpgp,exclude_graphdriver_btrfs", "-o", file, pkg)
	build.Dir, build.Env = repository(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return os.Chmod(file, 0o755)
}

// Main is the TestMain of a package: it puts a harness into h, runs the tests, and returns their exit code.
func Main(m *testing.M, h **Harness) int {
	unix.Umask(0o022) // the modes of the files that scripts begin with, whoever runs them
	var err error
	if *h, err = New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := (*h).Close(); err != nil {
		fmt.Fprintln(os.Stderr, "cleaning up:", err)
		return 1
	}
	return code
}

// Close removes everything that scripts left, mounts included.
func (h *Harness) Close() error {
	Unmount(h.Dir)
	return os.RemoveAll(h.Dir)
}

// Run runs the scripts of a directory as sub-tests of t, in parallel.
func (h *Harness) Run(t *testing.T, dir string) {
	t.Helper()
	root, err := os.MkdirTemp(h.Dir, "run-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               h.setup,
		Condition:           Condition,
		Cmds:                h.commands(),
	})
}

// setup gives a script its environment. The names of the variables are those of
// docs/environment: nothing of the machine's own configuration reaches a script.
func (h *Harness) setup(env *testscript.Env) error {
	work := env.WorkDir
	for _, dir := range []string{"home", "xdg-run"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o700); err != nil {
			return err
		}
	}
	path := filepath.Dir(h.Bin) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	env.Vars = append(env.Vars,
		"PATH="+path,
		"MARK="+mark(work),
		"HOME="+filepath.Join(work, "home"),
		"REPO="+repository(),
		"XDG_RUNTIME_DIR="+filepath.Join(work, "xdg-run"),
		"SLIPWAY_ROOT="+filepath.Join(work, "root"),
		"SLIPWAY_RUNROOT="+filepath.Join(work, "runroot"),
	)
	if os.Getuid() == 0 {
		env.Vars = append(env.Vars, "STORAGE_DRIVER=overlay")
	}
	env.Values[registryKey{}] = map[string]*regtest.Registry{}
	env.Defer(func() { Unmount(work) })
	return nil
}

// mark is a number of seconds that a script can tell its own sleep by among all processes of the machine, where other scripts
// and other runs of this one sleep as well: no two have the same directory at a time.
func mark(work string) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(work))
	return fmt.Sprintf("9%09d", sum.Sum32()%1e9)
}

// repository returns the directory of this module's sources, from which a test runs.
func repository() string {
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
	}
	return dir
}

// Unmount detaches every mount below dir, the innermost first. Storage leaves one
// bind mount for each root it opened.
func Unmount(dir string) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	for _, point := range slices.Backward(points) {
		// What cannot be detached makes the removal of the directory fail, visibly.
		_ = unix.Unmount(point, unix.MNT_DETACH)
	}
}

func errorsFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

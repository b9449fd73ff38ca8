package conformance

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
)

// An outcome is what building a case gave.
type outcome struct {
	code   int
	output string // stdout and stderr
	img    *builder.Image
	config []byte // of an image that has no layers and is not in the store
	err    error  // of the check itself
}

// A builderTool builds Dockerfiles into the lab's store.
type builderTool interface {
	prepare(t *testing.T, l *lab) error
	// command builds context with the Dockerfile in it; fetch brings the image into the store, or returns the configuration
	// of one that can't be there.
	command(l *lab, c *testcase, context string) []string
	fetch(l *lab, c *testcase) (config []byte, err error)
	// history is the form in which an entry ("L text", "E text") can be compared with what is expected.
	history(entry string) string
	// leaves are what commands leave behind that is only mounted on.
	leaves() []string
	// version is the tool's.
	version(l *lab) string
}

// peers are the tools that cases can be compared with.
func peers() map[string]builderTool {
	return map[string]builderTool{"buildah": buildah{}, "docker": &docker{}}
}

// slipway is what is tested.
type slipway struct{}

func (slipway) prepare(*testing.T, *lab) error { return nil }

func (slipway) command(l *lab, c *testcase, context string) []string {
	return append(append([]string{l.store.Bin, "bud", "-t", c.name}, c.args...), context)
}

func (slipway) fetch(*lab, *testcase) ([]byte, error) { return nil, nil }

func (slipway) history(entry string) string { return entry }

func (slipway) leaves() []string { return nil }

func (slipway) version(*lab) string { return "" }

// buildah is Debian's, on the same store.
type buildah struct{}

func (buildah) prepare(*testing.T, *lab) error {
	_, err := exec.LookPath("buildah")
	return err
}

func (buildah) command(l *lab, c *testcase, context string) []string {
	argv := []string{"buildah", "--root", l.store.Root, "--runroot", l.store.RunRoot, "--storage-driver", "overlay", "bud", "--layers", "--no-cache", "--isolation", "chroot", "--format", "docker",
		"--identity-label=false", "-t", c.name}
	return append(append(argv, c.args...), context)
}

func (buildah) fetch(*lab, *testcase) ([]byte, error) { return nil, nil }

func (buildah) history(entry string) string { return entry }

func (buildah) leaves() []string {
	return []string{"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run"}
}
func (buildah) version(l *lab) string { return strings.Fields(l.store.Run("buildah", "--version"))[2] }

// build builds a case.
func (l *lab) build(c *testcase) (out outcome) {
	dir := filepath.Join(l.store.Dir, "contexts", c.name)
	if out.err = os.MkdirAll(dir, 0o755); out.err == nil {
		out.err = c.write(dir)
	}
	if out.err == nil {
		out.err = os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(c.dockerfile), 0o644)
	}
	if out.err != nil {
		return out
	}
	argv := l.tool.command(l, c, ".")
	cmd := l.store.Command(argv...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, c.environ...)
	text, err := cmd.CombinedOutput()
	out.output = string(text)
	if exited := (*exec.ExitError)(nil); errors.As(err, &exited) {
		out.code = exited.ExitCode()
		return out
	}
	if out.err = err; err == nil {
		out.config, out.err = l.tool.fetch(l, c)
	}
	if out.err == nil && out.config == nil && !strings.Contains(strings.Join(c.args, " "), "--check") {
		out.img, out.err = l.b.Image(c.name)
	}
	return out
}

func chmod(name string, mode uint32) error { return unix.Chmod(name, mode) }

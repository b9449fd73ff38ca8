package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder"
)

// An outcome is what building a case gave.
type outcome struct {
	code   int
	output string // stdout and stderr
	img    *builder.Image
	err    error // of the check itself
}

// A builderTool builds Dockerfiles into the lab's store.
type builderTool interface {
	prepare(l *lab) error
	// command builds context with the Dockerfile in it; fetch brings the image into the store.
	command(l *lab, c *testcase, context string) []string
	fetch(l *lab, c *testcase) error
}

// peers are the tools that cases can be compared with.
func peers() map[string]builderTool {
	return map[string]builderTool{"buildah": buildah{}, "docker": docker{}}
}

// slipway is what is tested.
type slipway struct{}

func (slipway) prepare(*lab) error { return nil }

func (slipway) command(l *lab, c *testcase, context string) []string {
	return append(append([]string{l.store.Bin, "bud", "-t", c.name}, c.args...), context)
}

func (slipway) fetch(*lab, *testcase) error { return nil }

// buildah is Debian's, on the same store.
type buildah struct{}

func (buildah) prepare(*lab) error {
	_, err := exec.LookPath("buildah")
	return err
}

func (buildah) command(l *lab, c *testcase, context string) []string {
	argv := []string{"buildah", "--root", l.store.Root, "--runroot", l.store.RunRoot, "--storage-driver", "overlay", "bud", "--layers", "--isolation", "chroot", "-t", c.name}
	return append(append(argv, c.args...), context)
}

func (buildah) fetch(*lab, *testcase) error { return nil }

// docker is `docker build` through a daemon that runs already: DOCKER_HOST names it.
type docker struct{}

func (docker) prepare(l *lab) error {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		return errors.New("DOCKER_HOST must name a daemon (README.md says how to start one)")
	}
	l.store.Extra = append(l.store.Extra, "DOCKER_HOST="+host, "DOCKER_BUILDKIT="+os.Getenv("DOCKER_BUILDKIT"))
	file := filepath.Join(l.store.Dir, "base.tar")
	l.store.Slipway("push", "-q", "base", "docker-archive:"+file+":base:latest")
	l.store.Run("docker", "load", "-i", file)
	return nil
}

func (docker) command(_ *lab, c *testcase, context string) []string {
	return append(append([]string{"docker", "build", "--network", "none", "-t", c.name}, c.args...), context)
}

func (docker) fetch(l *lab, c *testcase) error {
	file := filepath.Join(l.store.Dir, c.name+".tar")
	defer os.Remove(file)
	if _, stderr, err := l.store.Try("docker", "save", "-o", file, c.name); err != nil {
		return fmt.Errorf("docker save: %w: %s", err, stderr)
	}
	if _, stderr, err := l.store.Try(l.store.Bin, "pull", "-q", "docker-archive:"+file); err != nil {
		return fmt.Errorf("pull: %w: %s", err, stderr)
	}
	return nil
}

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
		out.err = l.tool.fetch(l, c)
	}
	if out.err == nil && !strings.Contains(strings.Join(c.args, " "), "--check") {
		out.img, out.err = l.b.Image(c.name)
	}
	return out
}

func chmod(name string, mode uint32) error { return unix.Chmod(name, mode) }

package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

// docker is `docker build` with BuildKit, through a daemon: the one that DOCKER_HOST names, or one of its own where dockerd and
// containerd are installed. Some Dockerfiles end Debian's daemon: it is started again for the next case.
type docker struct {
	t   *testing.T
	cli string
	own *harness.Docker // nil for a daemon that is given
}

func (d *docker) prepare(t *testing.T, l *lab) error {
	d.t, d.cli = t, "docker"
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		own, err := harness.StartDocker(filepath.Join(l.store.Dir, "docker"))
		if err != nil {
			return fmt.Errorf("%w; or DOCKER_HOST names a daemon", err)
		}
		t.Cleanup(own.Stop)
		d.own, d.cli, host = own, own.CLI, own.Host
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
	if d.own != nil {
		if err := d.own.Revive(); err != nil {
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

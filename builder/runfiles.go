package builder

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux/label"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
)

// files writes what a command is given of the network and of the container it is in, and returns the
// mounts that show it (containers.md §8.3). None of it ever gets into the image.
func (c *commanded) files(hostname string) ([]specs.Mount, error) {
	texts := map[string]string{"/run/.containerenv": c.w.containerenv()}
	if !c.box.Hosts.NoHostname {
		texts["/etc/hostname"] = hostname + "\n"
	}
	names, err := c.nameFiles(hostname, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(texts, names)
	var list []specs.Mount
	for target, text := range texts {
		file := c.generated(target)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // users of the container read it
			return nil, err
		}
		if _, mount := c.labels(); mount != "" {
			if err := label.SetFileLabel(file, mount); err != nil {
				return nil, fmt.Errorf("labelling %s: %w", target, err)
			}
		}
		list = append(list, specs.Mount{Destination: target, Type: "bind", Source: file, Options: []string{"bind", "private"}})
	}
	return list, nil
}

// generated is where a file is made that the command sees at target.
func (c *commanded) generated(target string) string {
	return filepath.Join(c.dir, filepath.Base(target))
}

func (w *Workspace) containerenv() string {
	rootless := 0
	if os.Getuid() != 0 || oneID() {
		rootless = 1
	}
	return fmt.Sprintf("engine=\"slipway\"\nname=%q\nid=%q\nimage=%q\nimageid=%q\nrootless=%d\n",
		w.about.name, w.about.id, w.about.image, w.about.imageID, rootless)
}

// runtimeOf is the program of a runtime: a name that the runtimes of containers.conf have is the first of its paths that is there.
func runtimeOf(name string, conf *hostconf.Conf) (string, error) {
	paths, ok := conf.Engine.Runtimes[name]
	if !ok {
		return name, nil
	}
	for _, p := range paths {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("OCI runtime %s: none of the programs that containers.conf names is there: %s", name, strings.Join(paths, ", "))
}

// ociRuntime is the runtime that isolation oci uses when none is named.
func (s *Store) ociRuntime() (string, error) {
	conf, err := s.conf()
	if err != nil || conf.Engine.Runtime == "" {
		return installedRuntime(), err
	}
	return runtimeOf(conf.Engine.Runtime, conf)
}

func installedRuntime() string {
	for _, name := range []string{"crun", "runc"} {
		for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/bin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return name
			}
		}
	}
	return ""
}

func rootless() bool {
	return os.Getuid() != 0 || readText("/proc/self/uid_map") != "0          0 4294967295"
}

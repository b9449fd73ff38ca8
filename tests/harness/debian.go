package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// DebianTar returns a Debian root file system as a tar archive. It is made by
// mmdebstrap from the package sources of this machine, once, and kept in the
// user's cache directory for a day.
func DebianTar() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	name := filepath.Join(cache, "slipway-test", "debian.tar")
	if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) < 24*time.Hour {
		return name, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return "", err
	}
	suite := "stable"
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		if _, after, ok := strings.Cut(string(release), "VERSION_CODENAME="); ok {
			suite, _, _ = strings.Cut(after, "\n")
		}
	}
	argv := []string{"--variant=apt", "--include=gcc,libc6-dev", "--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", suite, name + ".tmp"}
	argv[len(argv)-1] = strings.TrimSuffix(name, ".tar") + ".new.tar"
	for _, sources := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
		if _, err := os.Stat(sources); err == nil {
			argv = append(argv, sources)
			break
		}
	}
	if out, err := exec.Command("mmdebstrap", argv...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	if err := os.Rename(strings.TrimSuffix(name, ".tar")+".new.tar", name); err != nil {
		return "", err
	}
	return name, nil
}

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"testing"
)

// peers are the programs that checks compare with; [NAME] in a script is true
// when it is installed.
func peers() []string {
	return []string{
		"buildah", "podman", "skopeo", "umoci", "runc", "crun", "mmdebstrap", "docker-registry", "gcc", "newuidmap", "setpriv", "ssh-keygen", "strace", "git", "cpp", "gpg",
		"pasta", "slirp4netns", "ip", "xz", "bzip2", "chmod", "tar", "containerd", "ctr",
	}
}

// Condition evaluates [root], [overlay], [userns], [users], [cni], [netavark] and the peers for
// testscript. With everything required (see Required) a missing one is an error.
func Condition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Getuid() == 0, nil
	case "overlay", "userns":
		list, file := " overlay", "/proc/filesystems"
		if name == "userns" {
			list, file = "", "/proc/self/ns/user"
		}
		return supports(file, list), nil
	case "cni":
		_, err := os.Stat("/usr/lib/cni/ptp")
		return must(name, err == nil)
	case "netavark":
		_, err := os.Stat("/usr/lib/podman/netavark")
		return must(name, err == nil)
	case "users":
		_, err := user.Lookup("slipway-single")
		return must(name, os.Getuid() == 0 && err == nil)
	}
	if !slices.Contains(peers(), name) {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	_, err := exec.LookPath(name)
	return must(name, err == nil)
}

// Required reports whether this run must have everything: CI, or a developer who
// asks for it.
func Required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("SLIPWAY_TEST_ALL") == "1"
}

// Need skips a Go test when a peer is missing, or fails it when all are required.
func Need(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		ok, err := Condition(name)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			t.Skipf("needs %s", name)
		}
	}
}

func must(name string, have bool) (bool, error) {
	if !have && Required() {
		return false, fmt.Errorf("%s is missing, and this run must have everything (make setup as root installs it)", name)
	}
	return have, nil
}

// supports reports whether a file exists and has the text.
func supports(file, text string) bool {
	if text == "" {
		_, err := os.Lstat(file)
		return err == nil
	}
	body, err := os.ReadFile(file)
	return err == nil && strings.Contains(strings.ReplaceAll(string(body), "\t", " "), text)
}

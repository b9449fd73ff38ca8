package oci

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/internal/runner"
)

// Runtimes remove a container's cgroups when it has ended, but not when they are killed, and some not when they fail. So that there are any is noted in the command's
// directory, and whoever tidies up after a killed program removes them. They have the container's name; in which place of each hierarchy is the
// runtime's business.

const (
	cgroupNote = "cgroups"
	cgroups    = "/sys/fs/cgroup"
)

// noteCgroups notes that the runtime makes cgroups for a command.
func noteCgroups(dir string) error {
	return os.WriteFile(filepath.Join(dir, cgroupNote), nil, 0o600)
}

// RemoveCgroups removes the cgroups that the runtime of a killed program has left, if dir, the command's directory, says that there are any.
// It fails while a process is left in one.
func RemoveCgroups(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, cgroupNote)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var found []string
	err := filepath.WalkDir(cgroups, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // others' cgroups come and go
		}
		if slices.Contains(strings.Split(name, "/"), runner.ContainerID(dir)) {
			found = append(found, name)
		}
		return nil
	})
	errs := []error{err}
	for _, name := range slices.Backward(found) { // those below others first
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

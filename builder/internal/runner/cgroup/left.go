package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Nobody removes the groups of a program that is killed, and some OCI runtimes not theirs when they fail. So that there are any is noted in the command's directory, and whoever tidies up after a
// killed program removes them. They have the container's name; in which place of each hierarchy is the maker's business.

const note = "cgroups"

// Note notes in a command's directory that there are groups for it.
func Note(dir string) error {
	return os.WriteFile(filepath.Join(dir, note), nil, 0o600)
}

// RemoveLeft removes the groups of the container that a killed program has left, if dir, the command's directory, says that there are any.
// It fails while a process is left in one.
func RemoveLeft(dir, container string) error {
	if _, err := os.Lstat(filepath.Join(dir, note)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var found []string
	err := filepath.WalkDir(Root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // others' groups come and go
		}
		if slices.Contains(strings.Split(name, "/"), container) {
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

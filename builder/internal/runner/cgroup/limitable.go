package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Limitable tells why what is asked for cannot be had of the cgroups that are mounted on dir. OCI runtimes fail in words of their own, or, started by
// an ordinary user, do without.
func Limitable(dir string, l *specs.Linux) error {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err != nil {
		return limitableEach(dir, l)
	}
	at := existing(filepath.Join(dir, path.Dir(l.CgroupsPath)))
	text, err := os.ReadFile(filepath.Join(at, "cgroup.controllers"))
	if err != nil {
		return err
	}
	for _, name := range needed(l.Resources) {
		if !slices.Contains(strings.Fields(string(text)), name) {
			return missing(name, at)
		}
	}
	return writable(at)
}

// limitableEach is limitable where each controller has a hierarchy of its own, or some share one.
func limitableEach(dir string, l *specs.Linux) error {
	all, err := hierarchies(dir)
	if err != nil {
		return err
	}
	for _, name := range needed(l.Resources) {
		if all[name] == "" {
			return missing(name, dir)
		}
	}
	for _, h := range all {
		if err := writable(existing(filepath.Join(h, path.Dir(l.CgroupsPath)))); err != nil {
			return err
		}
	}
	return nil
}

// needed are the controllers of limits.
func needed(r *specs.LinuxResources) (list []string) {
	if r == nil {
		return nil
	}
	if r.Memory != nil {
		list = append(list, "memory")
	}
	if c := r.CPU; c != nil {
		if c.Period != nil || c.Quota != nil || c.Shares != nil {
			list = append(list, "cpu")
		}
		if c.Cpus != "" || c.Mems != "" {
			list = append(list, "cpuset")
		}
	}
	return list
}

func missing(controller, dir string) error {
	return fmt.Errorf("the limits need the cgroup controller %q, which %s does not offer: leave them out, or name a parent that has it with --cgroup-parent", controller, dir)
}

// existing is a directory, or the nearest one above it that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func writable(dir string) error {
	err := unix.Access(dir, unix.W_OK|unix.X_OK)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("limits and a cgroup parent need a cgroup, and none can be made in %s (%w): have one delegated and name it with --cgroup-parent, or leave them out", dir, err)
	}
	return err
}

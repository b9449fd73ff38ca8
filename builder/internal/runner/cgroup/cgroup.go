// Package cgroup makes the control group that limits one command of the built-in runner, and removes those that killed programs have left, of OCI
// runtimes too. It knows the files of version 1, where each controller has a hierarchy, and of version 2, where all share one. It asks no systemd: where
// groups cannot be made by writing, there are no limits.
package cgroup

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Root is where the hierarchies are mounted.
const Root = "/sys/fs/cgroup"

// A Group is the control group of one command: a directory in each hierarchy that is needed.
type Group struct {
	dirs  []string
	made  []string               // that were not there before, each after the one it is in
	mkdir func(dir string) error // the kernel's, which makes a group's files too
	own   func() ([]byte, error) // /proc/self/cgroup
}

// New makes the group of a command with the limits that l has, in the hierarchies below root. It is called as l says, from there, or id: below our own
// group, or, as in version 2 a group has either processes or groups, beside it. Groups above it are made where they are missing. Without limits it is made in every
// hierarchy, so that those of the groups above it count.
func New(root, id string, l *specs.Linux) (*Group, error) {
	if err := Limitable(root, l); err != nil {
		return nil, err
	}
	g := &Group{
		mkdir: func(dir string) error { return os.Mkdir(dir, 0o755) },
		own:   func() ([]byte, error) { return os.ReadFile("/proc/self/cgroup") },
	}
	if err := g.make(root, cmp.Or(l.CgroupsPath, id), limits(l.Resources)); err != nil {
		return nil, errors.Join(explained(err), g.Remove())
	}
	return g, nil
}

func (g *Group) make(root, name string, l []limit) error {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		return g.unified(root, name, l)
	}
	return g.separate(root, name, l)
}

// place is where a group is from the root of a controller's hierarchy; "" is the one of version 2.
func (g *Group) place(controller, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return filepath.Clean(name), nil
	}
	text, err := g.own()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || !slices.Contains(strings.Split(strings.TrimPrefix(fields[1], "name="), ","), controller) {
			continue
		}
		if controller == "" {
			return filepath.Join(filepath.Dir(fields[2]), name), nil
		}
		return filepath.Join(fields[2], name), nil
	}
	return "/" + name, nil
}

// explained adds what to do.
func explained(err error) error {
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("limiting the command: %w: there are processes in a group above: name another with --cgroup-parent", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("limiting the command: %w: start this program inside the cgroup that is delegated", err)
	}
	return fmt.Errorf("limiting the command: %w", err)
}

// enter makes a directory and those above it up to root, and calls each with every one of these before, from the outermost on.
func (g *Group) enter(root, name string, each func(dir string) error) error {
	dir := root
	parts := strings.Split(strings.Trim(name, "/"), "/")
	for i, part := range parts {
		if err := each(dir); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		err := g.mkdir(dir)
		if err == nil {
			g.made = append(g.made, dir)
		} else if !errors.Is(err, fs.ErrExist) || i == len(parts)-1 {
			return err
		}
	}
	g.dirs = append(g.dirs, dir)
	return nil
}

// unified makes the group where all controllers share a hierarchy. A group has the controllers that the one above it hands down.
func (g *Group) unified(root, name string, l []limit) error {
	name, err := g.place("", name)
	if err != nil {
		return err
	}
	err = g.enter(root, name, func(dir string) error { return handDown(dir, wanted(l, nil)) })
	for _, s := range l {
		if err == nil && s.unified.file != "" {
			err = write(g.dirs[0], s.unified.file, s.unified.value)
		}
	}
	return err
}

// handDown has a group hand controllers down that it does not yet: those above a delegated one cannot be written.
func handDown(dir string, controllers []string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var more []string
	for _, c := range controllers {
		if !slices.Contains(strings.Fields(string(have)), c) {
			more = append(more, "+"+c)
		}
	}
	if len(more) == 0 {
		return nil
	}
	return write(dir, "cgroup.subtree_control", strings.Join(more, " "))
}

// separate makes the group in the hierarchies of the controllers that are needed.
func (g *Group) separate(root, name string, l []limit) error {
	at, err := hierarchies(root)
	if err != nil {
		return err
	}
	made := map[string]string{}
	for _, controller := range wanted(l, at) {
		if made[at[controller]] != "" {
			continue
		}
		dir, err := g.separately(at[controller], controller, name)
		if err != nil {
			return err
		}
		made[at[controller]] = dir
	}
	for _, s := range l {
		if s.separate.file == "" {
			continue
		}
		if err := write(made[at[s.controller]], s.separate.file, s.separate.value); err != nil {
			return err
		}
	}
	return nil
}

// wanted are the controllers of the limits; where there are none, all.
func wanted(l []limit, all map[string]string) (list []string) {
	for _, s := range l {
		if !slices.Contains(list, s.controller) {
			list = append(list, s.controller)
		}
	}
	if len(l) == 0 {
		list = slices.Sorted(maps.Keys(all))
	}
	return list
}

// separately makes the group in one hierarchy.
func (g *Group) separately(at, controller, name string) (dir string, err error) {
	if name, err = g.place(controller, name); err != nil {
		return "", err
	}
	err = g.enter(at, name, func(string) error { return nil })
	if err == nil && controller == "cpuset" {
		err = g.inherit(at, name)
	}
	return filepath.Join(at, name), err
}

// hierarchies are the directories of version 1's, by controller. One may be of several, which are links to it.
func hierarchies(root string) (map[string]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := map[string]string{}
	for _, e := range entries {
		at, err := filepath.EvalSymlinks(filepath.Join(root, e.Name()))
		if err != nil || e.Name() == "unified" {
			continue
		}
		if _, err := os.Stat(filepath.Join(at, "cgroup.procs")); err != nil {
			continue
		}
		for _, controller := range strings.Split(e.Name(), ",") {
			all[controller] = at
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("limits and a cgroup parent need cgroups, and none are mounted on %s", root)
	}
	return all, nil
}

// inherit gives new groups of the controller cpuset what the group above them has: they begin with nothing, and take no process so.
func (g *Group) inherit(at, name string) error {
	dir := at
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		above := dir
		dir = filepath.Join(dir, part)
		if !slices.Contains(g.made, dir) {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(above, file))
			if err == nil {
				err = write(dir, file, strings.TrimSpace(string(value)))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// write writes a file of a group, which is there.
func write(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err != nil {
		err = fmt.Errorf("%w (%s)", err, value)
	}
	return errors.Join(err, f.Close())
}

// Add puts a process into the group.
func (g *Group) Add(pid int) error {
	for _, dir := range g.dirs {
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return explained(err)
		}
	}
	return nil
}

// Remove removes the group, whose processes have ended, and the groups above it that were made with it and that nobody else uses.
func (g *Group) Remove() error {
	var errs []error
	for _, dir := range slices.Backward(g.made) {
		err := remove(dir)
		if err != nil && slices.Contains(g.dirs, dir) {
			errs = append(errs, err)
		}
	}
	g.dirs, g.made = nil, nil
	return errors.Join(errs...)
}

// remove removes a group that may have ending processes for a moment.
func remove(dir string) error {
	for tries := 0; ; tries++ {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || tries == 100 {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Starved tells how many processes of the group the kernel has killed for want of memory.
func (g *Group) Starved() int {
	count := 0
	for _, dir := range g.dirs {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			text, _ := os.ReadFile(filepath.Join(dir, file)) // of one version there is one of them
			for line := range strings.Lines(string(text)) {
				if n, found := strings.CutPrefix(line, "oom_kill "); found {
					killed, _ := strconv.Atoi(strings.TrimSpace(n))
					count += killed
				}
			}
		}
	}
	return count
}

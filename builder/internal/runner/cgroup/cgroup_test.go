package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func all() *specs.LinuxResources {
	limit, swap, shares, quota, period := int64(64<<20), int64(96<<20), uint64(512), int64(50_000), uint64(200_000)
	return &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: &limit, Swap: &swap},
		CPU:    &specs.LinuxCPU{Shares: &shares, Quota: &quota, Period: &period, Cpus: "0-1", Mems: "0"},
	}
}

// files are those that the kernel makes in a group; ours are ordinary ones, and begin empty but for those of the root.
var files = strings.Fields("cgroup.procs cgroup.subtree_control memory.limit_in_bytes memory.memsw.limit_in_bytes memory.max memory.swap.max memory.events " +
	"memory.oom_control cpu.shares cpu.cfs_period_us cpu.cfs_quota_us cpu.weight cpu.max cpuset.cpus cpuset.mems")

// fake is a Group over ordinary files, below root, for a process that is in the groups of the text own.
func fake(t *testing.T, root, own string, hierarchies ...string) *Group {
	t.Helper()
	g := &Group{own: func() ([]byte, error) { return []byte(own), nil }}
	g.mkdir = func(dir string) error {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for _, name := range files {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	for _, h := range hierarchies {
		if err := g.mkdir(filepath.Join(root, h)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// written are the files below root that have content.
func written(t *testing.T, root string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		if len(text) > 0 {
			got[strings.TrimPrefix(name, root+"/")] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestUnified: in version 2 the group is beside our own, and those above it hand the controllers down.
func TestUnified(t *testing.T) {
	root := t.TempDir()
	g := fake(t, root, "0::/user.slice/session\n", "user.slice")
	for name, text := range map[string]string{"cgroup.controllers": "cpuset cpu memory pids\n", "cgroup.subtree_control": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(g.make(root, "box", limits(all())), g.Add(42)); err != nil {
		t.Fatal(err)
	}
	same(t, written(t, root), map[string]string{
		"cgroup.controllers": "cpuset cpu memory pids\n", "cgroup.subtree_control": "+memory +cpu +cpuset",
		"user.slice/cgroup.subtree_control": "+memory +cpu +cpuset",
		"user.slice/box/memory.max":         "67108864", "user.slice/box/memory.swap.max": "33554432",
		"user.slice/box/cpu.weight": "20", "user.slice/box/cpu.max": "50000 200000",
		"user.slice/box/cpuset.cpus": "0-1", "user.slice/box/cpuset.mems": "0", "user.slice/box/cgroup.procs": "42",
	})
	if err := os.WriteFile(filepath.Join(root, "user.slice/box/memory.events"), []byte("max 5\noom 1\noom_kill 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := g.Starved(); n != 3 {
		t.Errorf("%d starved", n)
	}
}

// TestSeparate: in version 1 the group is below our own in the hierarchy of each controller, some of which share one, and cpuset begins with what
// the group above has.
func TestSeparate(t *testing.T) {
	root := t.TempDir()
	g := fake(t, root, "5:cpu,cpuacct:/a\n4:memory:/b/c\n3:cpuset:/\n1:name=systemd:/x\n0::/\n",
		"cpu,cpuacct", "cpu,cpuacct/a", "memory", "memory/b", "memory/b/c", "cpuset", "pids", "systemd")
	for _, name := range []string{"cpu", "cpuacct"} {
		if err := os.Symlink("cpu,cpuacct", filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "cpuset/cpuset.cpus"), []byte("0-3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := all()
	r.CPU.Cpus = ""
	if err := errors.Join(g.make(root, "box", limits(r)), g.Add(42)); err != nil {
		t.Fatal(err)
	}
	same(t, written(t, root), map[string]string{
		"cpuset/cpuset.cpus": "0-3\n", "memory/b/c/box/memory.limit_in_bytes": "67108864", "memory/b/c/box/memory.memsw.limit_in_bytes": "100663296",
		"cpu,cpuacct/a/box/cpu.shares": "512", "cpu,cpuacct/a/box/cpu.cfs_period_us": "200000", "cpu,cpuacct/a/box/cpu.cfs_quota_us": "50000",
		"cpuset/box/cpuset.cpus": "0-3", "cpuset/box/cpuset.mems": "0",
		"memory/b/c/box/cgroup.procs": "42", "cpu,cpuacct/a/box/cgroup.procs": "42", "cpuset/box/cgroup.procs": "42",
	})
}

// TestParent: a group without limits is in every hierarchy, below the named one from the root.
func TestParent(t *testing.T) {
	root := t.TempDir()
	g := fake(t, root, "4:memory:/own\n", "memory", "pids", "systemd")
	if err := g.make(root, "/above/box", nil); err != nil {
		t.Fatal(err)
	}
	for _, h := range []string{"memory", "pids", "systemd"} {
		if _, err := os.Stat(filepath.Join(root, h, "above/box")); err != nil {
			t.Error(err)
		}
	}
	if err := g.make(root, "/above/box", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second of that name: %v", err)
	}
}

// TestDelegated: what the groups above hand down already is not written again, as it could not be.
func TestDelegated(t *testing.T) {
	root := t.TempDir()
	g := fake(t, root, "", "above")
	for name, text := range map[string]string{"cgroup.controllers": "memory\n", "cgroup.subtree_control": "cpu memory\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := all()
	r.CPU = nil
	if err := g.make(root, "/above/box", limits(r)); err != nil {
		t.Fatal(err)
	}
	got := written(t, root)
	if got["cgroup.subtree_control"] != "cpu memory\n" || got["above/cgroup.subtree_control"] != "+memory" {
		t.Errorf("got %v", got)
	}
}

func TestRefused(t *testing.T) {
	if _, err := New(t.TempDir(), "box", &specs.Linux{Resources: all()}); err == nil || !strings.Contains(err.Error(), "none are mounted on") {
		t.Errorf("without cgroups: %v", err)
	}
	if err := explained(fs.ErrPermission); !strings.Contains(err.Error(), "inside the cgroup that is delegated") {
		t.Error(err)
	}
}

// TestKernel makes a group of this machine's, if it may, and puts nobody into it.
func TestKernel(t *testing.T) {
	r := all()
	r.Memory.Swap, r.CPU = nil, nil
	l := &specs.Linux{Resources: r}
	if err := Limitable(Root, l); err != nil {
		t.Skip(err)
	}
	g, err := New(Root, fmt.Sprintf("slipway-test-%d", os.Getpid()), l)
	if err != nil {
		t.Fatal(err)
	}
	dirs := g.dirs
	if n := g.Starved(); n != 0 {
		t.Errorf("%d starved", n)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there still: %v", dir, err)
		}
	}
}

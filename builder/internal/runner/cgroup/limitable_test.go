package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hierarchy makes what a host has in /sys/fs/cgroup: files with their text.
func hierarchy(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestLimitable asks for limits on hosts of each kind.
func TestLimitable(t *testing.T) {
	t.Parallel()
	number, quota := int64(1<<26), int64(500)
	memory := &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &number}}
	cpu := &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: &quota}}
	set := &specs.LinuxResources{CPU: &specs.LinuxCPU{Cpus: "0"}}
	older := map[string]string{"memory/cgroup.procs": "", "cpu,cpuacct/cgroup.procs": "", "systemd/cgroup.procs": ""}
	newer := map[string]string{"cgroup.controllers": "cpu memory\n", "cgroup.procs": "", "a/cgroup.controllers": "memory\n", "a/b/cgroup.controllers": "\n"}
	for _, c := range []struct {
		host   map[string]string
		limits *specs.LinuxResources
		path   string
		want   string // of the error, "" for none
	}{
		{older, memory, "", ""}, {older, cpu, "", ""}, {older, nil, "/p/c", ""}, {older, set, "", `controller "cpuset"`},
		{newer, memory, "", ""}, {newer, cpu, "", ""}, {newer, nil, "/p/c", ""}, {newer, set, "", `controller "cpuset"`},
		{newer, memory, "/a/c", ""}, {newer, memory, "/a/not/there/c", ""}, {newer, cpu, "/a/c", `controller "cpu", which `}, {newer, memory, "/a/b/c", `controller "memory"`},
		{map[string]string{"unified/cgroup.procs": ""}, memory, "", "none are mounted on"}, {nil, nil, "/p/c", "none are mounted on"},
	} {
		err := Limitable(hierarchy(t, c.host), &specs.Linux{Resources: c.limits, CgroupsPath: c.path})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

package oci

import (
	"encoding/json"
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/internal/runchild"
)

// described is what a runtime is told of a job.
func described(t *testing.T, in spec.Input, j runner.Job) (*runchild.RuntimeRequest, *specs.Spec) {
	t.Helper()
	s, err := spec.Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	j.Spec = s
	req := &runchild.RuntimeRequest{Stage: "/stage"}
	if err := (Runner{Command: "runc"}).describe(req, j); err != nil {
		t.Fatal(err)
	}
	var told specs.Spec
	if err := json.Unmarshal(req.Config, &told); err != nil {
		t.Fatal(err)
	}
	return req, &told
}

// TestLabelsForRuntimes looks at what a runtime is told where the kernel has security modules.
func TestLabelsForRuntimes(t *testing.T) {
	t.Parallel()
	in := spec.Input{Argv: []string{"x"}, SELinux: true, AppArmor: true, ProcessLabel: "u:r:p:s0:c1,c2", MountLabel: "u:r:f:s0:c1,c2",
		AppArmorLoaded: func(string) bool { return true }, SecurityOpts: []string{"apparmor=profile"}}
	req, told := described(t, in, runner.Job{})
	if told.Process.SelinuxLabel != in.ProcessLabel || told.Linux.MountLabel != in.MountLabel || told.Process.ApparmorProfile != "profile" {
		t.Errorf("labels %q %q, profile %q", told.Process.SelinuxLabel, told.Linux.MountLabel, told.Process.ApparmorProfile)
	}
	if req.MountLabel != in.MountLabel { // files in memory are on the stage
		t.Errorf("the stage has %q", req.MountLabel)
	}
	in.ProcessLabel, in.SecurityOpts = "", []string{"label=disable", "apparmor=unconfined"}
	if _, told = described(t, in, runner.Job{}); told.Process.SelinuxLabel != "" || told.Process.ApparmorProfile != "" || told.Linux.MountLabel != in.MountLabel {
		t.Errorf("without: labels %q %q, profile %q", told.Process.SelinuxLabel, told.Linux.MountLabel, told.Process.ApparmorProfile)
	}
}

// TestLimitsForRuntimes looks at what a runtime is told of limits and of the cgroup, which is the same on every host: what the hierarchies are
// there is its business.
func TestLimitsForRuntimes(t *testing.T) {
	t.Parallel()
	_, told := described(t, spec.Input{Argv: []string{"x"}, CgroupParent: "/parent/slipway-1", Resources: spec.Resources{
		Memory: 64 << 20, MemorySwap: -1, CPUPeriod: 1000, CPUQuota: 500, CPUShares: 7, CPUSetCPUs: "0-1", CPUSetMems: "0"}}, runner.Job{})
	r := told.Linux.Resources
	if told.Linux.CgroupsPath != "/parent/slipway-1" || r == nil || *r.Memory.Limit != 64<<20 || *r.Memory.Swap != -1 ||
		*r.CPU.Period != 1000 || *r.CPU.Quota != 500 || *r.CPU.Shares != 7 || r.CPU.Cpus != "0-1" || r.CPU.Mems != "0" {
		t.Errorf("%q %+v", told.Linux.CgroupsPath, r)
	}
	if _, told := described(t, spec.Input{Argv: []string{"x"}}, runner.Job{}); told.Linux.Resources != nil || told.Linux.CgroupsPath != "" {
		t.Errorf("without: %q %+v", told.Linux.CgroupsPath, told.Linux.Resources)
	}
}

// TestStagedPlaces looks at where a runtime finds what it cannot reach by path: trees, namespaces, files in memory.
func TestStagedPlaces(t *testing.T) {
	t.Parallel()
	in := spec.Input{Argv: []string{"x"}, Devices: []string{"/dev/null"}, Joined: map[specs.LinuxNamespaceType]string{specs.IPCNamespace: runner.TreePath(1)},
		Mounts: []specs.Mount{{Destination: "/bound", Type: "bind", Source: runner.TreePath(0), Options: []string{"bind"}}}}
	_, told := described(t, in, runner.Job{Root: 3, Files: []runner.File{{Target: "/secret", Mode: 0o400}, {Target: "/tool", Mode: 0o500}}})
	if told.Root.Path != "/stage/tree2" {
		t.Errorf("the root is %s", told.Root.Path)
	}
	for target, want := range map[string]string{"/bound": "/stage/tree0", "/secret": "/stage/file0", "/tool": "/stage/file1"} {
		if !slices.ContainsFunc(told.Mounts, func(m specs.Mount) bool { return m.Destination == target && m.Source == want }) {
			t.Errorf("%s is not %s: %+v", target, want, told.Mounts)
		}
	}
	if !slices.Contains(told.Linux.Namespaces, specs.LinuxNamespace{Type: specs.IPCNamespace, Path: "/stage/tree1"}) {
		t.Errorf("namespaces %+v", told.Linux.Namespaces)
	}
}

package spec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Resources are limits that a cgroup enforces (cli.md §8.4). Zero is unlimited.
type Resources struct {
	CPUPeriod              uint64 // microseconds
	CPUQuota               int64  // microseconds
	CPUShares              uint64
	CPUSetCPUs, CPUSetMems string
	Memory, MemorySwap     int64 // bytes; swap includes memory, -1 is unlimited
}

// linux returns them as the specification has them; nil if there are none.
func (r Resources) linux() *specs.LinuxResources {
	if r == (Resources{}) {
		return nil
	}
	var out specs.LinuxResources
	if r.Memory != 0 || r.MemorySwap != 0 {
		out.Memory = &specs.LinuxMemory{Limit: given(r.Memory), Swap: given(r.MemorySwap)}
	}
	if r.CPUPeriod != 0 || r.CPUQuota != 0 || r.CPUShares != 0 || r.CPUSetCPUs != "" || r.CPUSetMems != "" {
		out.CPU = &specs.LinuxCPU{
			Period: given(r.CPUPeriod), Quota: given(r.CPUQuota), Shares: given(r.CPUShares), Cpus: r.CPUSetCPUs, Mems: r.CPUSetMems,
		}
	}
	return &out
}

func given[T int64 | uint64](v T) *T {
	if v == 0 {
		return nil
	}
	return &v
}

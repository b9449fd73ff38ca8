package cgroup

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A limit is a setting of a controller, as version 1 (separate) and version 2 (unified) have it; one without a file is not there.
type limit struct {
	controller        string
	separate, unified setting
}

type setting struct{ file, value string }

// limits are those that a specification has, in the order in which they can be written.
func limits(r *specs.LinuxResources) (list []limit) {
	if r == nil {
		return nil
	}
	if m := r.Memory; m != nil {
		list = append(list, memory(m)...)
	}
	if c := r.CPU; c != nil {
		list = append(list, cpu(c)...)
	}
	return list
}

// memory's swap includes memory in version 1 and not in version 2.
func memory(m *specs.LinuxMemory) (list []limit) {
	var most int64
	if m.Limit != nil {
		most = *m.Limit
		v := strconv.FormatInt(most, 10)
		list = append(list, limit{"memory", setting{"memory.limit_in_bytes", v}, setting{"memory.max", v}})
	}
	if m.Swap != nil {
		both, swap := strconv.FormatInt(*m.Swap, 10), "max"
		if *m.Swap >= 0 {
			swap = strconv.FormatInt(max(*m.Swap-most, 0), 10)
		}
		list = append(list, limit{"memory", setting{"memory.memsw.limit_in_bytes", both}, setting{"memory.swap.max", swap}})
	}
	return list
}

func cpu(c *specs.LinuxCPU) (list []limit) {
	if c.Shares != nil {
		list = append(list, limit{"cpu", setting{"cpu.shares", strconv.FormatUint(*c.Shares, 10)}, setting{"cpu.weight", weight(*c.Shares)}})
	}
	if c.Period != nil {
		list = append(list, limit{controller: "cpu", separate: setting{"cpu.cfs_period_us", strconv.FormatUint(*c.Period, 10)}})
	}
	if c.Quota != nil {
		list = append(list, limit{controller: "cpu", separate: setting{"cpu.cfs_quota_us", strconv.FormatInt(*c.Quota, 10)}})
	}
	if c.Period != nil || c.Quota != nil {
		list = append(list, limit{controller: "cpu", unified: setting{"cpu.max", share(c)}})
	}
	if c.Cpus != "" {
		list = append(list, limit{"cpuset", setting{"cpuset.cpus", c.Cpus}, setting{"cpuset.cpus", c.Cpus}})
	}
	if c.Mems != "" {
		list = append(list, limit{"cpuset", setting{"cpuset.mems", c.Mems}, setting{"cpuset.mems", c.Mems}})
	}
	return list
}

// weight is what shares, 2 to 262144, are among the weights of version 2, 1 to 10000: the scale that OCI runtimes have.
func weight(shares uint64) string {
	const least, most = 2, 262144
	shares = min(max(shares, least), most)
	return strconv.FormatUint(1+(shares-least)*9999/(most-least), 10)
}

// share is quota and period in one, microseconds; the kernel's own period is a tenth of a second.
func share(c *specs.LinuxCPU) string {
	quota, period := "max", uint64(100_000)
	if c.Quota != nil && *c.Quota > 0 {
		quota = strconv.FormatInt(*c.Quota, 10)
	}
	if c.Period != nil {
		period = *c.Period
	}
	return fmt.Sprintf("%s %d", quota, period)
}

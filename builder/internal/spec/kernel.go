package spec

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

const defaultShmSize = 64 << 20

// kernelMounts are the file systems of every command (containers.md §8.3). A runner that may not mount a fresh one, as in a
// user namespace that shares the host's network, binds the host's instead.
func kernelMounts(in Input) []specs.Mount {
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: terminals(in)},
	}
	list = append(list, ipcMounts(in)...)
	list = append(list, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}})
	bound := []string{"rbind", "rslave", "nosuid", "noexec", "nodev"}
	if in.UserNamespace && (in.HostNetwork || in.ForeignNetwork) {
		list = slices.DeleteFunc(list, func(m specs.Mount) bool { return strings.HasPrefix(m.Destination, "/sys") })
		list = append(list, specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: append(bound, "ro")})
	}
	if in.UserNamespace && in.HostPID {
		list[0] = specs.Mount{Destination: "/proc", Type: "bind", Source: "/proc", Options: bound}
	}
	if in.Insecure {
		for i := range list {
			list[i].Options = slices.DeleteFunc(list[i].Options, func(o string) bool { return o == "ro" })
		}
	}
	return list
}

func terminals(in Input) []string {
	o := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if !in.OneID {
		o = append(o, "gid=5")
	}
	return o
}

// IPCDirs are where an IPC namespace is seen, on a host and in a container.
func IPCDirs() []string { return []string{"/dev/shm", "/dev/mqueue"} }

// ipcMounts are the file systems of the IPC namespace, which come from the host with it.
func ipcMounts(in Input) []specs.Mount {
	if in.HostIPC {
		bound := []string{"bind", "rprivate", "nosuid", "noexec", "nodev"}
		shown := slices.DeleteFunc(IPCDirs(), func(dir string) bool { return slices.Contains(in.Missing, dir) })
		list := make([]specs.Mount, len(shown))
		for i, dir := range shown {
			list[i] = specs.Mount{Destination: dir, Type: "bind", Source: dir, Options: bound}
		}
		return list
	}
	size := in.ShmSize
	if size == 0 {
		size = defaultShmSize
	}
	return []specs.Mount{
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", size)}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
}

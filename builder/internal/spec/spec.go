// Package spec makes the OCI runtime specification of a command: from the image's configuration, what
// the caller asked for, and what this process may do. It is pure, so that the specification for any host is a test's table row;
// runners take its result.
package spec

import (
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Input is everything that decides the specification.
type Input struct {
	Rootfs   string // where the root file system is mounted
	Argv     []string
	Env      []string // "K=V" in rising priority, the image's first
	Dir      string
	User     User
	Hostname string
	// Host namespaces are shared with the host; the others are new.
	HostNetwork, HostPID, HostIPC, HostUTS bool
	Capabilities                           []string
	SecurityOpts                           []string // values of --security-opt
	Ulimits                                []string
	// HardLimit is what this process may raise a resource limit to.
	HardLimit func(resource int) uint64
	ShmSize   int64
	Mounts    []specs.Mount // files and volumes, over the kernel's own
	Devices   []string
	// OneID says that only one identity is mapped: device owners cannot be set.
	OneID bool
}

// Generate makes the specification.
func Generate(in Input) (*specs.Spec, error) {
	sec, err := security(in)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(in.Ulimits, in.HardLimit)
	if err != nil {
		return nil, err
	}
	caps := &specs.LinuxCapabilities{Bounding: in.Capabilities}
	if in.User.UID == 0 {
		caps.Effective, caps.Permitted = in.Capabilities, in.Capabilities
	}
	s := &specs.Spec{
		Version:  "1.0.2", // what the runtimes of Debian 12 know
		Root:     &specs.Root{Path: in.Rootfs},
		Hostname: in.Hostname,
		Process: &specs.Process{
			Args: in.Argv, Env: environment(in), Cwd: first(in.Dir, "/"),
			User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups},
			Capabilities:    caps,
			Rlimits:         limits,
			NoNewPrivileges: sec.noNewPrivileges,
		},
		Mounts: append(kernelMounts(in), in.Mounts...),
		Linux: &specs.Linux{
			Namespaces: namespaces(in), MaskedPaths: sec.masked, ReadonlyPaths: sec.readOnly, Seccomp: sec.seccomp,
		},
	}
	for _, d := range in.Devices {
		s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: d})
	}
	return s, nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// environment keeps the last value of each variable and adds what every command has.
func environment(in Input) []string {
	var env []string
	set := func(kv string, replace bool) {
		key, _, _ := strings.Cut(kv, "=")
		at := slices.IndexFunc(env, func(old string) bool { return strings.HasPrefix(old, key+"=") })
		switch {
		case at < 0:
			env = append(env, kv)
		case replace:
			env[at] = kv
		}
	}
	for _, kv := range in.Env {
		set(kv, true)
	}
	set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", false)
	set("HOME="+first(in.User.Home, "/"), false)
	if in.Hostname != "" {
		set("HOSTNAME="+in.Hostname, false)
	}
	return env
}

func namespaces(in Input) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	for _, ns := range []struct {
		host bool
		kind specs.LinuxNamespaceType
	}{
		{in.HostPID, specs.PIDNamespace}, {in.HostIPC, specs.IPCNamespace},
		{in.HostUTS, specs.UTSNamespace}, {in.HostNetwork, specs.NetworkNamespace},
	} {
		if !ns.host {
			list = append(list, specs.LinuxNamespace{Type: ns.kind})
		}
	}
	return list
}

// kernelMounts are the file systems of every command (containers.md §8.3).
func kernelMounts(in Input) []specs.Mount {
	shm := in.ShmSize
	if shm == 0 {
		shm = 64 << 20
	}
	pts := []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}
	if !in.OneID {
		pts = append(pts, "gid=5")
	}
	sys := specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}
	if in.HostNetwork {
		sys = specs.Mount{Destination: "/sys", Type: "bind", Source: "/sys", Options: []string{"rbind", "nosuid", "noexec", "nodev", "ro"}}
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: pts},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", shm)}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		sys,
	}
}

type secured struct {
	masked, readOnly []string
	seccomp          *specs.LinuxSeccomp
	noNewPrivileges  bool
}

// security reads the --security-opt values (cli.md §8.5).
func security(in Input) (secured, error) {
	s := secured{
		masked: strings.Fields(`/proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi
			/proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux`),
		readOnly: strings.Fields("/proc/asound /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger"),
		seccomp:  defaultSeccomp(in.Capabilities),
	}
	for _, o := range in.SecurityOpts {
		key, value, _ := strings.Cut(o, "=")
		switch {
		case key == "no-new-privileges":
			s.noNewPrivileges = value != "false"
		case key == "seccomp" && value == "unconfined":
			s.seccomp = nil
		case key == "apparmor" && value == "unconfined", key == "label":
		case key == "mask":
			s.masked = append(s.masked, strings.Split(value, ":")...)
		case key == "unmask":
			s.unmask(value)
		default:
			return s, fmt.Errorf("invalid --security-opt %q: not supported", o)
		}
	}
	return s, nil
}

func (s *secured) unmask(value string) {
	gone := func(p string) bool {
		for _, pattern := range strings.Split(value, ":") {
			if ok, err := path.Match(pattern, p); strings.EqualFold(pattern, "all") || ok && err == nil {
				return true
			}
		}
		return false
	}
	s.masked, s.readOnly = slices.DeleteFunc(s.masked, gone), slices.DeleteFunc(s.readOnly, gone)
}

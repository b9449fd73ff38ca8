// Package spec makes the OCI runtime specification of a command: from the image's configuration, what
// the caller asked for, and what this process may do. It is pure, so that the specification for any host is a test's table row;
// runners take its result. Start with Input and Generate; LookupUser resolves who the command runs as.
package spec

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Input is everything that decides the specification. The zero value of a field is its default.
type Input struct {
	Rootfs   string // where the root file system is mounted
	Argv     []string
	Env      []string // "K=V" in rising priority: proxies, the image's, the caller's
	Dir      string
	User     User
	Hostname string
	Terminal bool
	// Host namespaces are shared with the host; the others are new. Joined are those to join instead, by path.
	HostNetwork, HostPID, HostIPC, HostUTS, HostCgroup bool
	Joined                                             map[specs.LinuxNamespaceType]string
	// Missing are directories that a host's IPC namespace is seen in elsewhere, and that this host does not have.
	Missing []string
	// UIDs and GIDs are the maps of a user namespace of the command's own, none for the caller's.
	UIDs, GIDs []specs.LinuxIDMapping
	// GroupAdd are supplementary groups by number, or the one word keep-groups, which adds CallerGroups. DeviceGroups are further ones.
	GroupAdd     []string
	DeviceGroups []uint32
	CallerGroups []uint32
	Capabilities []string
	SecurityOpts []string // values of --security-opt
	// Insecure masks nothing, makes nothing read-only and filters nothing; Capabilities are the caller's business.
	Insecure bool
	// SELinux and AppArmor say that the host's kernel enforces them; AppArmorLoaded, which may be nil, whether it knows a profile.
	SELinux, AppArmor bool
	AppArmorLoaded    func(profile string) bool
	// ProcessLabel and MountLabel are the container's SELinux labels, empty for none.
	ProcessLabel, MountLabel string
	// SeccompProfile is the host's default profile file; nil means the built-in one.
	SeccompProfile []byte
	// ReadFile reads files that SecurityOpts name; nil is os.ReadFile.
	ReadFile func(name string) ([]byte, error)
	Ulimits  []string
	// HardLimit is what this process may raise a resource limit to; nil means that nothing limits it.
	HardLimit func(resource int) uint64
	// Warn is told what could not be had as it was asked for; nil ignores it.
	Warn    func(text string)
	ShmSize int64         // bytes
	Mounts  []specs.Mount // files and volumes, over the kernel's own
	Devices []string      // "HOST[:CONTAINER[:rwm]]"
	// Sysctls are "NAME=VALUE"; those of namespaces that are not the command's own are left out.
	Sysctls []string
	// Annotations are for hooks and runtimes. Hooks may be nil.
	Annotations map[string]string
	Hooks       *specs.Hooks
	// Resources are limits that need a cgroup, below CgroupParent.
	Resources    Resources
	CgroupParent string
	// UserNamespace says that the caller is root of one only: the kernel shows it no sysfs of a network that is not its own.
	UserNamespace bool
	// ForeignNetwork says that the network namespace, though not the host's, belongs to another user namespace than the command's.
	ForeignNetwork bool
	// OneID says that only one identity is mapped: the group of terminals is not there.
	OneID bool
	// Arch is the processor, a GOARCH; empty is this machine's.
	Arch string
}

// Generate makes the specification.
func Generate(in Input) (*specs.Spec, error) {
	in = in.withDefaults()
	sec, err := security(in)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(in)
	if err != nil {
		return nil, err
	}
	groups, err := groups(in)
	if err != nil {
		return nil, err
	}
	devices, err := deviceMounts(in.Devices)
	if err != nil {
		return nil, err
	}
	sys, err := sysctls(in)
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
		Hostname: in.Hostname, Hooks: in.Hooks, Annotations: in.Annotations,
		Process: &specs.Process{
			Args: in.Argv, Env: environment(in), Cwd: first(in.Dir, "/"), Terminal: in.Terminal,
			User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: groups},
			Capabilities:    caps,
			Rlimits:         limits,
			NoNewPrivileges: sec.noNewPrivileges,
			ApparmorProfile: sec.apparmor, SelinuxLabel: in.ProcessLabel,
		},
		Mounts: ordered(slices.Concat(in.Mounts, devices), kernelMounts(in)),
		Linux: &specs.Linux{
			Namespaces: namespaces(in), MaskedPaths: sec.masked, ReadonlyPaths: sec.readOnly, Seccomp: sec.seccomp,
			UIDMappings: in.UIDs, GIDMappings: in.GIDs,
			Resources: in.Resources.linux(), CgroupsPath: in.CgroupParent, MountLabel: in.MountLabel, Sysctl: sys,
		},
	}
	if in.HostUTS || in.Joined[specs.UTSNamespace] != "" { // another's name is not changed
		s.Hostname = ""
	}
	return s, nil
}

func (in Input) withDefaults() Input {
	if in.ReadFile == nil {
		in.ReadFile = os.ReadFile
	}
	if in.Warn == nil {
		in.Warn = func(string) {}
	}
	in.Arch = first(in.Arch, runtime.GOARCH)
	return in
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
	at := map[string]int{}
	set := func(kv string, replace bool) {
		key, _, _ := strings.Cut(kv, "=")
		i, ok := at[key]
		switch {
		case !ok:
			at[key] = len(env)
			env = append(env, kv)
		case replace:
			env[i] = kv
		}
	}
	for _, kv := range in.Env {
		if strings.Contains(kv, "=") {
			set(kv, true)
		}
	}
	set("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", false)
	set("HOME="+first(in.User.Home, "/"), false)
	if in.Hostname != "" {
		set("HOSTNAME="+in.Hostname, false)
	}
	if in.Terminal {
		set("TERM=xterm", false)
	}
	return env
}

// namespaces lists them; one that is neither shared nor joined is new.
func namespaces(in Input) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if len(in.UIDs) > 0 {
		list = append(list, specs.LinuxNamespace{Type: specs.UserNamespace, Path: in.Joined[specs.UserNamespace]})
	}
	for _, ns := range []struct {
		host bool
		kind specs.LinuxNamespaceType
	}{
		{in.HostPID, specs.PIDNamespace}, {in.HostIPC, specs.IPCNamespace}, {in.HostUTS, specs.UTSNamespace},
		{in.HostNetwork, specs.NetworkNamespace}, {in.HostCgroup, specs.CgroupNamespace},
	} {
		if joined := in.Joined[ns.kind]; joined != "" || !ns.host {
			list = append(list, specs.LinuxNamespace{Type: ns.kind, Path: joined})
		}
	}
	return list
}

// ordered joins mounts: where both want the same place the asked one wins, and what is mounted on comes before what is
// mounted in it.
func ordered(asked, kernel []specs.Mount) []specs.Mount {
	list := slices.DeleteFunc(kernel, func(k specs.Mount) bool {
		return slices.ContainsFunc(asked, func(a specs.Mount) bool { return path.Clean(a.Destination) == k.Destination })
	})
	list = append(list, asked...)
	depth := func(m specs.Mount) int { return strings.Count(path.Clean(m.Destination), "/") }
	slices.SortStableFunc(list, func(a, b specs.Mount) int { return depth(a) - depth(b) })
	return list
}

// groups are the supplementary groups, the primary one first (exact.md on containers.md §8.1).
func groups(in Input) ([]uint32, error) {
	list := slices.Clone(in.User.Groups)
	if len(list) == 0 {
		list = []uint32{in.User.GID}
	}
	add := func(g uint32) {
		if !slices.Contains(list, g) {
			list = append(list, g)
		}
	}
	for _, g := range in.DeviceGroups {
		add(g)
	}
	more, err := addedGroups(in)
	for _, g := range more {
		add(g)
	}
	return list, err
}

// addedGroups are those of --group-add.
func addedGroups(in Input) (list []uint32, err error) {
	if slices.Contains(in.GroupAdd, "keep-groups") {
		if len(in.GroupAdd) > 1 {
			return nil, fmt.Errorf("the '--group-add keep-groups' option is not allowed with any other --group-add options")
		}
		return in.CallerGroups, nil
	}
	for _, text := range in.GroupAdd {
		g, ok := number(text)
		if !ok {
			return nil, fmt.Errorf("invalid --group-add %q: want a number or keep-groups", text)
		}
		list = append(list, g)
	}
	return list, nil
}

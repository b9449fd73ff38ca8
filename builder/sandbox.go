package builder

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/builder/internal/mounts"
	"github.com/slipway-build/slipway/builder/internal/network"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/builder/internal/state"
)

// setSandbox keeps in the record what `from` was told about later runs.
func setSandbox(r *state.Record, s Sandbox, base []string) error {
	r.Isolation = map[Isolation]int{IsolationOCI: 1, IsolationChroot: 2}[s.Isolation] // native is 0 (decisions.md §1.13)
	caps, err := spec.Capabilities(base, s.Security.CapAdd, s.Security.CapDrop)
	if err != nil {
		return err
	}
	r.Capabilities, r.GroupAdd, r.DeviceSpecs = caps, s.GroupAdd, s.Devices
	o := r.CommonBuildOpts
	o.AddHost, o.HTTPProxy = s.Hosts.AddHost, !s.Hosts.NoHTTPProxy
	o.DNSServers, o.DNSSearch, o.DNSOptions = s.Hosts.DNSServers, s.Hosts.DNSSearch, s.Hosts.DNSOptions
	o.Ulimit, o.Volumes, o.SecurityOpts = s.Limits.Ulimits, s.Volumes, s.Security.Options
	o.LabelOpts, o.OCIHooksDir = labelOptions(s.Security.Options), s.HooksDirs
	l := s.Limits
	o.CgroupParent, o.CPUPeriod, o.CPUQuota, o.CPUShares = l.CgroupParent, l.CPUPeriod, l.CPUQuota, l.CPUShares
	o.CPUSetCPUs, o.CPUSetMems, o.Memory, o.MemorySwap = l.CPUSetCPUs, l.CPUSetMems, l.Memory, l.MemorySwap
	if s.Limits.ShmSize > 0 {
		o.ShmSize = strconv.FormatInt(s.Limits.ShmSize, 10)
	}
	for _, ns := range []struct {
		name  string
		value Namespace
	}{
		{"cgroup", s.Namespaces.Cgroup}, {"ipc", s.Namespaces.IPC}, {"network", s.Namespaces.Network}, {"pid", s.Namespaces.PID}, {"uts", s.Namespaces.UTS},
	} {
		n := state.Namespace{Name: ns.name, Host: ns.value == "host"}
		if v := string(ns.value); v != "host" && v != "private" && v != "none" {
			n.Path = v
		}
		r.NamespaceOptions = append(r.NamespaceOptions, n)
	}
	switch s.Namespaces.Network {
	case "", "host":
	case "none":
		r.ConfigureNetwork = networkDisabled
	default:
		r.ConfigureNetwork = networkEnabled
	}
	r.CNIConfigDir, r.CNIPluginPath, r.CDIConfigDir = s.CNIConfigDir, s.CNIPluginPath, s.CDIConfigDir
	return nil
}

// Values of ConfigureNetwork in a record (containers.md §3).
const (
	networkDisabled = 1
	networkEnabled  = 2
)

// sandbox reads back what setSandbox, or another tool of the family, has kept.
func sandbox(r *state.Record) Sandbox {
	s := Sandbox{
		Isolation: [...]Isolation{IsolationDefault, IsolationOCI, IsolationChroot, IsolationRootless}[r.Isolation&3],
		GroupAdd:  r.GroupAdd, Devices: r.DeviceSpecs, CNIConfigDir: r.CNIConfigDir, CNIPluginPath: r.CNIPluginPath, CDIConfigDir: r.CDIConfigDir,
		Security: Security{Base: r.Capabilities},
	}
	if o := r.CommonBuildOpts; o != nil {
		s.Hosts = Hosts{AddHost: o.AddHost, DNSServers: o.DNSServers, DNSSearch: o.DNSSearch, DNSOptions: o.DNSOptions,
			NoHosts: o.NoHosts, NoHostname: o.NoHostname, NoHTTPProxy: !o.HTTPProxy}
		s.Limits = Limits{CgroupParent: o.CgroupParent, CPUPeriod: o.CPUPeriod, CPUQuota: o.CPUQuota, CPUShares: o.CPUShares,
			CPUSetCPUs: o.CPUSetCPUs, CPUSetMems: o.CPUSetMems, Memory: o.Memory, MemorySwap: o.MemorySwap}
		s.HooksDirs = o.OCIHooksDir
		s.Limits.Ulimits, s.Volumes, s.Security.Options = o.Ulimit, o.Volumes, securityOptions(o)
		if n, err := units.RAMInBytes(o.ShmSize); err == nil {
			s.Limits.ShmSize = n
		}
	}
	for _, n := range r.NamespaceOptions {
		switch {
		case n.Host:
			s.Namespaces.set(n.Name, "host")
		case n.Path != "":
			s.Namespaces.set(n.Name, Namespace(n.Path))
		case n.Name == "network" && r.ConfigureNetwork == networkEnabled:
			s.Namespaces.Network = "private"
		}
	}
	if r.ConfigureNetwork == networkDisabled {
		s.Namespaces.Network = "none"
	}
	return s
}

// securityOptions are the values of --security-opt. Other tools of the family keep only what they mean.
func securityOptions(o *state.BuildOpts) []string {
	if o.SecurityOpts != nil {
		return o.SecurityOpts
	}
	var list []string
	for _, l := range o.LabelOpts {
		list = append(list, "label="+l)
	}
	if o.ApparmorProfile != "" {
		list = append(list, "apparmor="+o.ApparmorProfile)
	}
	if o.SeccompProfilePath == "unconfined" { // a path is the other tool's default, of which we have our own
		list = append(list, "seccomp=unconfined")
	}
	if o.NoNewPrivileges {
		list = append(list, "no-new-privileges")
	}
	return list
}

func (n *Namespaces) set(name string, value Namespace) {
	switch name {
	case "cgroup":
		n.Cgroup = value
	case "ipc":
		n.IPC = value
	case "network":
		n.Network = value
	case "pid":
		n.PID = value
	case "uts":
		n.UTS = value
	}
}

// over returns s with what o says in its place.
func (s Sandbox) over(o Sandbox) Sandbox {
	if o.Isolation != IsolationDefault {
		s.Isolation = o.Isolation
	}
	for name, v := range map[string]Namespace{"cgroup": o.Namespaces.Cgroup, "ipc": o.Namespaces.IPC, "network": o.Namespaces.Network, "pid": o.Namespaces.PID, "uts": o.Namespaces.UTS} {
		if v != "" {
			s.Namespaces.set(name, v)
		}
	}
	s.Security.CapAdd = append(s.Security.CapAdd, o.Security.CapAdd...)
	s.Security.CapDrop = append(s.Security.CapDrop, o.Security.CapDrop...)
	s.Security.Options = append(s.Security.Options, o.Security.Options...)
	s.Security.Insecure = s.Security.Insecure || o.Security.Insecure
	s.Limits.Ulimits = append(s.Limits.Ulimits, o.Limits.Ulimits...)
	s.Volumes = append(elsewhere(s.Volumes, o.Volumes), o.Volumes...)
	s.Mounts = append(s.Mounts, o.Mounts...)
	s.HooksDirs = append(s.HooksDirs, o.HooksDirs...)
	s.CDIConfigDir = first(o.CDIConfigDir, s.CDIConfigDir)
	s.Devices = append(s.Devices, o.Devices...)
	s.Hosts.NoHosts = s.Hosts.NoHosts || o.Hosts.NoHosts
	s.Hosts.NoHostname = s.Hosts.NoHostname || o.Hosts.NoHostname
	if o.Limits.ShmSize > 0 {
		s.Limits.ShmSize = o.Limits.ShmSize
	}
	s.CNIConfigDir, s.CNIPluginPath = first(o.CNIConfigDir, s.CNIConfigDir), first(o.CNIPluginPath, s.CNIPluginPath)
	s.NoPivot = s.NoPivot || o.NoPivot
	s.Runtime, s.RuntimeFlags = first(o.Runtime, s.Runtime), append(s.RuntimeFlags, o.RuntimeFlags...)
	return s
}

// elsewhere are the volumes that have other places than those of more. What is no volume is kept, to be refused when it is used.
func elsewhere(list, more []string) []string {
	var taken []string
	for _, text := range more {
		if m, err := mounts.Volume(text); err == nil {
			taken = append(taken, m.Target)
		}
	}
	return slices.DeleteFunc(slices.Clone(list), func(text string) bool {
		m, err := mounts.Volume(text)
		return err == nil && slices.Contains(taken, m.Target)
	})
}

// ParseNamespace reads a value of --cgroupns, --ipc, --network, --pid or --uts, whose name kind is (cli.md §8.2).
func ParseNamespace(kind, text string) (Namespace, error) {
	if kind == "network" {
		_, err := network.Parse(text)
		return Namespace(first(text, "private")), err
	}
	switch text {
	case "", "private", "container":
		return "private", nil
	case "host":
		return "host", nil
	}
	p := strings.TrimPrefix(text, "ns:")
	if !path.IsAbs(p) {
		return "", fmt.Errorf("invalid %s namespace %q: want private, host or the path of a namespace", kind, text)
	}
	return Namespace(path.Clean(p)), nil
}

// joins tells whether a namespace that exists is to be joined.
func (n Namespace) joins() bool {
	return strings.HasPrefix(string(n), "/") || strings.HasPrefix(string(n), "ns:/")
}

// Check tells what is wrong with options, before a command is run with them.
func (s Sandbox) Check() error {
	in := spec.Input{SecurityOpts: s.Security.Options, Ulimits: s.Limits.Ulimits, GroupAdd: s.GroupAdd, Resources: s.Limits.resources()}
	if err := spec.Check(in); err != nil {
		return err
	}
	if _, err := spec.Capabilities(nil, s.Security.CapAdd, s.Security.CapDrop); err != nil {
		return err
	}
	for _, text := range s.Volumes {
		if _, err := mounts.Volume(text); err != nil {
			return err
		}
	}
	return nil
}

// network is what a command's network is.
func (s Sandbox) network() (network.Choice, error) {
	c, err := network.Parse(string(s.Namespaces.Network))
	if err == nil && s.Isolation == IsolationChroot && c.Kind != network.Host {
		err = errors.New("cannot set --network other than host with --isolation chroot")
	}
	return c, err
}

// settled chooses the isolation, where nothing was asked for: an OCI runtime, if one was named, or there is one, for what the built-in
// runner cannot do, as joining a user namespace.
func (s Sandbox) settled(conf *hostconf.Conf, joins bool) (Sandbox, error) {
	named := s.Runtime != "" || len(s.RuntimeFlags) > 0
	if s.Isolation == IsolationDefault && (named || joins && first(conf.Engine.Runtime, installedRuntime()) != "") {
		s.Isolation = IsolationOCI
	}
	if s.Isolation != IsolationOCI {
		return s, nil
	}
	var err error
	s.Runtime, err = runtimeOf(first(s.Runtime, conf.Engine.Runtime), conf)
	return s, err
}

// proxies are the caller's proxy variables, which commands get but images never do.
func (s *Store) proxies() []string {
	var env []string
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"} {
		if v, ok := s.o.Environ(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

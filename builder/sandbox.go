package builder

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/go-units"

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
	o.LabelOpts = labelOptions(s.Security.Options)
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
		if strings.HasPrefix(string(ns.value), "/") {
			n.Path = string(ns.value)
		}
		r.NamespaceOptions = append(r.NamespaceOptions, n)
	}
	if s.Namespaces.Network == "none" {
		r.ConfigureNetwork = 1
	}
	return nil
}

// sandbox reads back what setSandbox, or another tool of the family, has kept.
func sandbox(r *state.Record) Sandbox {
	s := Sandbox{
		Isolation: [...]Isolation{IsolationDefault, IsolationOCI, IsolationChroot, IsolationRootless}[r.Isolation&3],
		GroupAdd:  r.GroupAdd, Devices: r.DeviceSpecs,
		Security: Security{Base: r.Capabilities},
	}
	if o := r.CommonBuildOpts; o != nil {
		s.Hosts = Hosts{AddHost: o.AddHost, DNSServers: o.DNSServers, DNSSearch: o.DNSSearch, DNSOptions: o.DNSOptions,
			NoHosts: o.NoHosts, NoHostname: o.NoHostname, NoHTTPProxy: !o.HTTPProxy}
		s.Limits = Limits{CgroupParent: o.CgroupParent, CPUPeriod: o.CPUPeriod, CPUQuota: o.CPUQuota, CPUShares: o.CPUShares,
			CPUSetCPUs: o.CPUSetCPUs, CPUSetMems: o.CPUSetMems, Memory: o.Memory, MemorySwap: o.MemorySwap}
		s.Limits.Ulimits, s.Volumes, s.Security.Options = o.Ulimit, o.Volumes, securityOptions(o)
		if n, err := units.RAMInBytes(o.ShmSize); err == nil {
			s.Limits.ShmSize = n
		}
	}
	for _, n := range r.NamespaceOptions {
		if n.Host {
			s.Namespaces.set(n.Name, "host")
		}
	}
	if r.ConfigureNetwork == 1 {
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
	s.Limits.Ulimits = append(s.Limits.Ulimits, o.Limits.Ulimits...)
	s.Volumes = append(s.Volumes, o.Volumes...)
	s.Devices = append(s.Devices, o.Devices...)
	s.Hosts.NoHosts = s.Hosts.NoHosts || o.Hosts.NoHosts
	s.Hosts.NoHostname = s.Hosts.NoHostname || o.Hosts.NoHostname
	if o.Limits.ShmSize > 0 {
		s.Limits.ShmSize = o.Limits.ShmSize
	}
	s.Runtime, s.RuntimeFlags = first(o.Runtime, s.Runtime), append(s.RuntimeFlags, o.RuntimeFlags...)
	return s
}

// network tells whether a command shares the host's network. Private networks are not set up yet: the host's is
// the default, none can be asked for.
func (s Sandbox) network() (host bool, err error) {
	switch s.Namespaces.Network {
	case "", "host":
		return true, nil
	case "none":
		if s.Isolation == IsolationChroot {
			return false, fmt.Errorf("cannot set --network other than host with --isolation chroot")
		}
		return false, nil
	}
	return false, fmt.Errorf("unable to find network with name or ID %s: network not found", s.Namespaces.Network)
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

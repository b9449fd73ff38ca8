package main

import (
	"fmt"
	"path/filepath"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
)

// sandboxFlags binds what `from` and `build` say about running commands.
func sandboxFlags(fs *pflag.FlagSet, s *builder.Sandbox) func() error {
	var shm string
	capFlags(fs, s)
	namespaceFlags(fs, s)
	fs.StringSliceVar(&s.Hosts.AddHost, "add-host", nil, "`name:ip` for /etc/hosts")
	fs.StringSliceVar(&s.Hosts.DNSServers, "dns", nil, "name `server`, or none to leave the image's resolv.conf")
	fs.StringSliceVar(&s.Hosts.DNSSearch, "dns-search", nil, "search `domain`")
	fs.StringSliceVar(&s.Hosts.DNSOptions, "dns-option", nil, "resolver `option`")
	httpProxy := fs.Bool("http-proxy", true, "pass proxy variables to commands")
	fs.StringArrayVar(&s.Security.Options, "security-opt", nil, "security `option`")
	fs.StringSliceVar(&s.Limits.Ulimits, "ulimit", nil, "resource limit `type=soft[:hard]`")
	fs.StringVar(&shm, "shm-size", "", "`size` of /dev/shm (default 65536k)")
	fs.StringArrayVarP(&s.Volumes, "volume", "v", nil, "bind mount `HOST:CONTAINER[:OPTIONS]`")
	deviceFlags(fs, s, "host `device` for commands, HOST[:CONTAINER[:rwm]] or VENDOR/CLASS=NAME")
	fs.StringSliceVar(&s.GroupAdd, "group-add", nil, "further `group` of commands, by number, or keep-groups for the caller's")
	limits := limitFlags(fs, &s.Limits)
	return func() (err error) {
		s.Hosts.NoHTTPProxy = !*httpProxy
		if err := s.Hosts.Check(s.Namespaces.Network); err != nil {
			return err
		}
		if err := limits(); err != nil {
			return err
		}
		if shm != "" {
			if s.Limits.ShmSize, err = bytesOf(shm); err != nil {
				err = fmt.Errorf("invalid value for shm-size: %w", err)
			}
		}
		return err
	}
}

// deviceFlags binds devices, and where those with names are described.
func deviceFlags(fs *pflag.FlagSet, s *builder.Sandbox, help string) {
	fs.StringArrayVar(&s.Devices, "device", nil, help)
	parsedFlag(fs, &s.CDIConfigDir, "cdi-config-dir", "`dir`ectory with further descriptions of devices that have names", filepath.Abs)
	_ = fs.MarkHidden("cdi-config-dir")
}

// limitFlags binds the limits that a cgroup enforces (cli.md §8.4).
func limitFlags(fs *pflag.FlagSet, l *builder.Limits) func() error {
	var memory, swap string
	fs.StringVar(&l.CgroupParent, "cgroup-parent", "", "parent `cgroup` of commands")
	fs.Uint64Var(&l.CPUPeriod, "cpu-period", 0, "CPU period in `microseconds`")
	fs.Int64Var(&l.CPUQuota, "cpu-quota", 0, "CPU quota in `microseconds`")
	fs.Uint64VarP(&l.CPUShares, "cpu-shares", "c", 0, "CPU `weight`")
	fs.StringVar(&l.CPUSetCPUs, "cpuset-cpus", "", "`CPUs` to use, as 0-3,5")
	fs.StringVar(&l.CPUSetMems, "cpuset-mems", "", "memory `nodes` to use")
	fs.StringVarP(&memory, "memory", "m", "", "memory limit, a `size` as 512m")
	fs.StringVar(&swap, "memory-swap", "", "`size` of memory and swap together, -1 for unlimited")
	return func() (err error) {
		if memory != "" {
			if l.Memory, err = bytesOf(memory); err != nil {
				return fmt.Errorf("invalid value for memory: %w", err)
			}
		}
		switch swap {
		case "":
		case "-1":
			l.MemorySwap = -1
		default:
			if l.MemorySwap, err = bytesOf(swap); err != nil {
				return fmt.Errorf("invalid value for memory-swap: %w", err)
			}
		}
		return nil
	}
}

// bytesOf reads a size, as 512m. One that is more than fits into its number would come out as a negative one.
func bytesOf(text string) (int64, error) {
	n, err := units.RAMInBytes(text)
	if err == nil && n < 0 {
		err = fmt.Errorf("%q is too large", text)
	}
	return n, err
}

func capFlags(fs *pflag.FlagSet, s *builder.Sandbox) {
	fs.StringSliceVar(&s.Security.CapAdd, "cap-add", nil, "add a `capability`")
	fs.StringSliceVar(&s.Security.CapDrop, "cap-drop", nil, "drop a `capability`")
}

func namespaceFlags(fs *pflag.FlagSet, s *builder.Sandbox) {
	n := &s.Namespaces
	for _, f := range []struct {
		name string
		p    *builder.Namespace
		help string
	}{
		{"cgroupns", &n.Cgroup, "cgroup `namespace`: private, host or a path"},
		{"ipc", &n.IPC, "IPC `namespace`: private, host or a path"}, {"pid", &n.PID, "PID `namespace`: private, host or a path"},
		{"uts", &n.UTS, "UTS `namespace`: private, host or a path"},
		{"network", &n.Network, "`network`: host (default), none, private, pasta[:OPTION,...], ns:PATH or names of networks"},
	} {
		parsedFlag(fs, f.p, f.name, f.help, func(text string) (builder.Namespace, error) { return builder.ParseNamespace(f.name, text) })
	}
	fs.StringVar(&s.CNIConfigDir, "cni-config-dir", "", "`dir`ectory of networks with names (default /etc/cni/net.d)")
	fs.StringVar(&s.CNIPluginPath, "cni-plugin-path", "", "`dir`ectory of their plugins (default /usr/lib/cni and the like)")
	_, _ = fs.MarkHidden("cni-config-dir"), fs.MarkHidden("cni-plugin-path")
	fs.SetNormalizeFunc(oldNames)
}

// usersFlags binds whose user namespace containers have (cli.md §8.2, §8.3).
func usersFlags(fs *pflag.FlagSet, u *builder.Users) {
	parsedFlag(fs, &u.Namespace, "userns", "user `namespace`: host (default), private, auto[:size=N,uidmapping=MAP,gidmapping=MAP], keep-id[:uid=N,gid=N], or a path", builder.ParseUsers)
	fs.StringSliceVar(&u.UIDMap, "userns-uid-map", nil, "`ctrID:hostID:length` user ID map of the user namespace")
	fs.StringSliceVar(&u.GIDMap, "userns-gid-map", nil, "`ctrID:hostID:length` group ID map (default the user ID map)")
	fs.StringVar(&u.UIDMapUser, "userns-uid-map-user", "", "map the subordinate user IDs of that `user`")
	fs.StringVar(&u.GIDMapGroup, "userns-gid-map-group", "", "map the subordinate group IDs of that `group`")
}

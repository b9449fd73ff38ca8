package native

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/native/seccomp"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/internal/runchild"
)

// places are the namespaces that the child is started in: CLONE_NEW flags of new ones, and those that exist.
type places struct {
	flags uintptr
	joins []join
}

// request turns a runtime specification into what the child does, and the namespaces to start it in.
func request(s *specs.Spec) (*runchild.Request, places, error) {
	p := s.Process
	req := &runchild.Request{
		Root: s.Root.Path, Hostname: s.Hostname, Argv: p.Args, Env: p.Env, Dir: p.Cwd,
		UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, SetGroups: mayGroups(),
		Masked: s.Linux.MaskedPaths, ReadOnly: s.Linux.ReadonlyPaths, NoNewPriv: p.NoNewPrivileges, Terminal: p.Terminal,
	}
	if len(p.Args) == 0 {
		return nil, places{}, errors.New("command must be specified")
	}
	for _, d := range s.Linux.Devices {
		req.Devices = append(req.Devices, d.Path)
	}
	req.Sysctls = s.Linux.Sysctl
	req.MountLabel, req.Attributes = s.Linux.MountLabel, attributes(p)
	var err error
	if req.Caps, err = spec.CapMask(p.Capabilities.Bounding); err != nil {
		return nil, places{}, err
	}
	if s.Linux.Seccomp != nil {
		if req.Seccomp, err = seccomp.Compile(s.Linux.Seccomp, runtime.GOARCH); err != nil {
			return nil, places{}, fmt.Errorf("seccomp profile: %w", err)
		}
	}
	for _, l := range p.Rlimits {
		n, ok := spec.Rlimits()[strings.TrimPrefix(l.Type, "RLIMIT_")]
		if !ok {
			return nil, places{}, fmt.Errorf("unknown resource limit %q", l.Type)
		}
		req.Limits = append(req.Limits, runchild.Limit{Resource: n, Soft: l.Soft, Hard: l.Hard})
	}
	for _, m := range s.Mounts {
		cm, err := mount(m)
		if err != nil {
			return nil, places{}, err
		}
		if slices.Contains([]string{"tmpfs", "mqueue", "devpts", "overlay"}, cm.Type) {
			cm.Data = label.FormatMountLabel(cm.Data, s.Linux.MountLabel)
		}
		req.Mounts = append(req.Mounts, cm)
	}
	at, err := namespaces(s, req)
	return req, at, err
}

// attributes are what the kernel's security modules are told of the command.
func attributes(p *specs.Process) (list []runchild.Attribute) {
	if p.SelinuxLabel != "" {
		list = append(list, runchild.Attribute{Name: "keycreate", Value: p.SelinuxLabel}, runchild.Attribute{Name: "exec", Value: p.SelinuxLabel})
	}
	if p.ApparmorProfile != "" {
		name := "apparmor/exec"
		if _, err := os.Stat("/proc/self/attr/" + name); err != nil {
			name = "exec" // before 5.8
		}
		list = append(list, runchild.Attribute{Name: name, Value: "exec " + p.ApparmorProfile})
	}
	return list
}

// cloneFlag is the flag of a new namespace of that kind, 0 if there is no such kind here.
func cloneFlag(kind specs.LinuxNamespaceType) uintptr {
	return map[specs.LinuxNamespaceType]uintptr{specs.UserNamespace: unix.CLONE_NEWUSER, specs.PIDNamespace: unix.CLONE_NEWPID, specs.MountNamespace: unix.CLONE_NEWNS,
		specs.IPCNamespace: unix.CLONE_NEWIPC, specs.UTSNamespace: unix.CLONE_NEWUTS, specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.NetworkNamespace: unix.CLONE_NEWNET}[kind]
}

// namespaces sorts them into new and joined ones.
func namespaces(s *specs.Spec, req *runchild.Request) (at places, err error) {
	for _, ns := range s.Linux.Namespaces {
		flag := cloneFlag(ns.Type)
		i, pinned := runner.TreeIndex(ns.Path)
		switch {
		case flag == 0, ns.Path != "" && !pinned:
			return at, fmt.Errorf("a %s namespace %q is not supported", ns.Type, ns.Path)
		case pinned:
			at.joins = append(at.joins, join{ns.Type, i})
		default:
			at.flags |= flag
		}
	}
	req.Loopback = at.flags&unix.CLONE_NEWNET != 0
	req.SharedPID, req.JoinedPID = at.flags&unix.CLONE_NEWPID == 0, joinsPID(at.joins)
	if at.flags&unix.CLONE_NEWUTS == 0 {
		req.Hostname = ""
	}
	if req.JoinedPID && at.flags&unix.CLONE_NEWUSER != 0 {
		return at, errors.New("a pid namespace that exists cannot be joined by a command that has a user namespace of its own, which may not show it as /proc: leave out one of the two")
	}
	return at, nil
}

// overlay reads the directories of an overlay out of its options.
func overlay(m *runchild.Mount, options []string) error {
	var rest []string
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "lowerdir":
			i, ok := runner.TreeIndex(value)
			if !ok {
				return fmt.Errorf("mount %s: the lower directory %q is not supported", m.Target, value)
			}
			m.Tree = i + 1
		case "upperdir":
			m.Upper = value
		case "workdir":
			m.Work = value
		default:
			rest = append(rest, o)
		}
	}
	m.Data = strings.Join(rest, ",")
	return nil
}

// mayGroups tells whether the kernel lets this process set supplementary groups.
func mayGroups() bool {
	text, err := os.ReadFile("/proc/self/setgroups")
	return err != nil || strings.TrimSpace(string(text)) != "deny"
}

func mount(m specs.Mount) (runchild.Mount, error) {
	cm := runchild.Mount{Type: m.Type, Source: m.Source, Target: m.Destination}
	if i, ok := runner.TreeIndex(m.Source); ok {
		cm.Tree = i + 1
	}
	if m.Type == "bind" {
		cm.Flags |= unix.MS_BIND
	}
	// Files of an image, or of a stage, may be devices of the host: only what was asked for as a device is one.
	if cm.Flags&unix.MS_BIND != 0 && !slices.Contains(m.Options, "dev") && m.Source != "/dev" && !strings.HasPrefix(m.Source, "/dev/") {
		cm.Flags |= unix.MS_NODEV
	}
	var data []string
	for _, o := range m.Options {
		switch o {
		case "rw", "exec", "suid", "dev", "relatime", "strictatime", "newinstance":
		case "ro":
			cm.Flags |= unix.MS_RDONLY
		case "nosuid":
			cm.Flags |= unix.MS_NOSUID
		case "noexec":
			cm.Flags |= unix.MS_NOEXEC
		case "nodev":
			cm.Flags |= unix.MS_NODEV
		case "bind":
			cm.Flags |= unix.MS_BIND
		case "rbind":
			cm.Flags |= unix.MS_BIND | unix.MS_REC
		case "private", "rprivate":
			cm.Propagation = unix.MS_PRIVATE
		case "slave", "rslave":
			cm.Propagation = unix.MS_SLAVE
		case "shared", "rshared":
			cm.Propagation = unix.MS_SHARED
		default:
			data = append(data, o)
		}
	}
	if cm.Flags&unix.MS_BIND != 0 && len(data) > 0 {
		return cm, fmt.Errorf("mount %s: option %q does not fit a bind mount", m.Destination, data[0])
	}
	if m.Type == "overlay" {
		return cm, overlay(&cm, data)
	}
	cm.Data = strings.Join(data, ",")
	return cm, nil
}

package builder

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/selinux/go-selinux"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/internal/userns"
)

// confFiles are the host's files containers.conf.
func (s *Store) confFiles() []string { return hostconf.Files(s.o.Environ, rootless()) }

// HostEnvironment are the variables "K=V" that this program needs to have, or that the host's containers.conf wants, where lookup finds none of that
// name. A file that cannot be read says nothing here: commands that need it fail.
func HostEnvironment(lookup func(string) (string, bool)) (list []string) {
	if home, _ := lookup("HOME"); home == "" && rootless() && !inPasswd() {
		list = append(list, "HOME=/") // as OCI runtimes have it: the libraries fail without one
	}
	files := hostconf.Files(lookup, rootless())
	if !hostconf.Mention(files, "env") {
		return list
	}
	conf, err := hostconf.Read(files)
	if err != nil {
		return list
	}
	for _, kv := range conf.Engine.Env {
		name, _, _ := strings.Cut(kv, "=")
		if _, set := lookup(name); !set {
			list = append(list, kv)
		}
	}
	return list
}

// inPasswd tells whether the caller has an entry in /etc/passwd, with a home.
func inPasswd() bool {
	u, err := user.LookupId(strconv.Itoa(userns.Outside()))
	return err == nil && u.HomeDir != ""
}

// RetriesDefault as the number of retries means the one in containers.conf, else 3.
const RetriesDefault = -1

// withRetries fills in what containers.conf says about retries, where r says nothing. It is asked after a failure only; a file
// that cannot be read says nothing then, so as not to hide what failed.
func (s *Store) withRetries(r Registry) Registry {
	if r.Retries != RetriesDefault && r.RetryDelay != 0 {
		return r
	}
	conf, err := s.conf()
	if err != nil {
		s.o.Log.Warn("no defaults from containers.conf", "error", err)
		conf = &hostconf.Conf{}
	}
	if r.Retries == RetriesDefault {
		r.Retries = 3
		if n := conf.Engine.Retry; n != nil && *n >= 0 {
			r.Retries = *n
		}
	}
	if r.RetryDelay == 0 && conf.Engine.RetryDelay != "" {
		if r.RetryDelay, err = time.ParseDuration(conf.Engine.RetryDelay); err != nil {
			s.o.Log.Warn("containers.conf: retry_delay", "error", err)
		}
	}
	return r
}

// withCompression fills in how containers.conf wants the layers of pushed images compressed, where o says nothing. Docker's
// manifests stay as they are: they know gzip only.
func (s *Store) withCompression(o PushOptions, manifestType string) (PushOptions, error) {
	c := &o.Compression
	if c.Format != "" || c.Disable || o.Format != "" && o.Format != "oci" || o.Format == "" && manifestType != ispec.MediaTypeImageManifest {
		return o, nil
	}
	conf, err := s.conf()
	if err != nil {
		return o, err
	}
	if f := conf.Engine.CompressionFormat; f != "" && f != "gzip" {
		c.Format = f
	}
	if c.Level == nil {
		c.Level = conf.Engine.CompressionLevel
	}
	return o, nil
}

// WithDefaults fills in what the host's containers.conf says about running commands, where box says nothing (decisions.md
// §1.12). Working containers need no call: theirs are filled in when a command runs, but for namespaces, which are settled when
// they are made (exact.md §8). A build does it once.
func (s *Store) WithDefaults(box Sandbox) (Sandbox, error) {
	box, err := s.withDefaults(box)
	if err != nil {
		return box, err
	}
	return s.withNamespaces(box)
}

// withNamespaces fills in the namespaces.
func (s *Store) withNamespaces(box Sandbox) (Sandbox, error) {
	conf, err := s.conf()
	if err != nil {
		return box, err
	}
	c, n := conf.Containers, &box.Namespaces
	for _, ns := range []struct {
		key, kind, value string
		p                *Namespace
	}{
		{"cgroupns", "cgroupns", c.CgroupNamespace, &n.Cgroup}, {"ipcns", "ipc", c.IPCNamespace, &n.IPC},
		{"netns", "network", c.NetNamespace, &n.Network}, {"pidns", "pid", c.PIDNamespace, &n.PID}, {"utsns", "uts", c.UTSNamespace, &n.UTS},
	} {
		if *ns.p != "" || ns.value == "" || ns.kind == "network" && box.Isolation == IsolationChroot {
			continue
		}
		if ns.value == "slirp4netns" {
			ns.value = "private"
		}
		if *ns.p, err = ParseNamespace(ns.kind, ns.value); err != nil {
			return box, fmt.Errorf("containers.conf: %s: %w", ns.key, err)
		}
	}
	return box, nil
}

// withDefaults fills in all but the namespaces.
func (s *Store) withDefaults(box Sandbox) (Sandbox, error) {
	conf, err := s.conf()
	if err != nil {
		return box, err
	}
	c := conf.Containers
	if box.Security.Base == nil && c.Capabilities != nil {
		box.Security.Base = append([]string{}, *c.Capabilities...)
	}
	if c.Seccomp != "" {
		box.Security.Options = append([]string{"seccomp=" + c.Seccomp}, box.Security.Options...)
	}
	if p := defaultProfile(c.AppArmor); p != "" {
		box.Security.Options = append([]string{"apparmor=" + p}, box.Security.Options...)
	}
	if c.Label != nil && !*c.Label {
		box.Security.Options = append([]string{"label=disable"}, box.Security.Options...)
	}
	if c.LabelUsers && selinux.GetEnabled() {
		current, err := selinux.CurrentLabel()
		if err != nil {
			return box, fmt.Errorf("containers.conf: label_users: %w", err)
		}
		box.Security.Options = append(userLabels(current), box.Security.Options...)
	}
	box.Limits.Ulimits = append([]string(c.Ulimits), box.Limits.Ulimits...)
	box.DefaultVolumes, box.DefaultMounts = c.Volumes, c.Mounts
	box.Devices = append([]string(c.Devices), box.Devices...)
	box.Env = append([]string(c.Env), box.Env...)
	h := &box.Hosts
	if len(h.DNSServers)+len(h.DNSSearch)+len(h.DNSOptions) == 0 {
		h.DNSServers, h.DNSSearch, h.DNSOptions = c.DNSServers, c.DNSSearches, c.DNSOptions
	}
	h.Base, h.Gateway = first(h.Base, c.BaseHosts), first(h.Gateway, c.HostAddress)
	if c.HTTPProxy != nil && !*c.HTTPProxy {
		h.NoHTTPProxy = true
	}
	if box.Limits.ShmSize == 0 && c.ShmSize != "" {
		if box.Limits.ShmSize, err = units.RAMInBytes(c.ShmSize); err == nil && box.Limits.ShmSize < 0 {
			err = errors.New("it is too large")
		}
		if err != nil {
			return box, fmt.Errorf("containers.conf: shm_size %q: %w", c.ShmSize, err)
		}
	}
	return box, nil
}

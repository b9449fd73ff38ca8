package builder

import (
	"fmt"
	"os"

	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
)

// WithDefaults fills in what the host's containers.conf says about running commands, where box says nothing (decisions.md
// §1.12). Working containers need no call: theirs are filled in when a command runs. A build does it once.
func (s *Store) WithDefaults(box Sandbox) (Sandbox, error) {
	conf, err := hostconf.Read(hostconf.Files(s.o.Environ, os.Getuid() != 0 || rootless()))
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
	box.Limits.Ulimits = append([]string(c.Ulimits), box.Limits.Ulimits...)
	box.Volumes = append([]string(c.Volumes), box.Volumes...)
	box.Devices = append([]string(c.Devices), box.Devices...)
	box.Env = append([]string(c.Env), box.Env...)
	h := &box.Hosts
	if len(h.DNSServers)+len(h.DNSSearch)+len(h.DNSOptions) == 0 {
		h.DNSServers, h.DNSSearch, h.DNSOptions = c.DNSServers, c.DNSSearches, c.DNSOptions
	}
	if c.HTTPProxy != nil && !*c.HTTPProxy {
		h.NoHTTPProxy = true
	}
	if box.Limits.ShmSize == 0 && c.ShmSize != "" {
		if box.Limits.ShmSize, err = units.RAMInBytes(c.ShmSize); err != nil {
			return box, fmt.Errorf("containers.conf: shm_size %q: %w", c.ShmSize, err)
		}
	}
	return box, nil
}

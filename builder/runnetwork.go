package builder

import (
	"context"
	"errors"
	"os"

	"github.com/slipway-build/slipway/builder/internal/network"
)

// connect connects the network of a command and then writes the files that tell its addresses.
func (c *commanded) connect(hostname, id string) func(context.Context, int) (func() error, error) {
	if c.net.Kind != network.Private && c.net.Kind != network.Named {
		return nil
	}
	return func(ctx context.Context, pid int) (func() error, error) {
		conf, err := c.networks()
		if err != nil {
			return nil, err
		}
		link, err := c.net.Attach(ctx, pid, id, conf)
		if err != nil {
			return nil, err
		}
		texts, err := c.nameFiles(hostname, link)
		for target, text := range texts {
			err = errors.Join(err, os.WriteFile(c.generated(target), []byte(text), 0o644)) //nolint:gosec // users of the container read it
		}
		if err != nil {
			return nil, errors.Join(err, link.Close())
		}
		return link.Close, nil
	}
}

// networks are where networks and what connects them are found: flags, then the variable and containers.conf.
func (c *commanded) networks() (network.Config, error) {
	e, n := c.conf.Engine, c.conf.Network
	helpers := c.w.s.o.helpers(e.HelperDirs)
	leases, err := c.w.s.runDir("networks")
	conf := network.Config{ConfDir: c.box.CNIConfigDir, PluginPath: c.box.CNIPluginPath, Helpers: helpers, Program: n.UserMode, PastaOptions: n.PastaOptions,
		Forward: len(hostResolver(c.net).Servers) == 0,
		Backend: n.Backend, DefaultName: n.Default, DefaultSubnet: n.DefaultSubnet, Leases: leases, Journal: c.dir, Log: c.w.s.o.Log}
	switch {
	case conf.ConfDir != "":
		conf.Backend = "cni"
	case n.Backend == "netavark":
		conf.BridgeDir = n.ConfigDir
	default:
		conf.ConfDir = n.ConfigDir
	}
	return conf, err
}

// helpers are the directories that network programs are looked for in: the caller's, then those of containers.conf.
func (o *StoreOptions) helpers(conf []string) []string {
	if o.Environ == nil {
		return conf
	}
	if dir, _ := o.Environ("CONTAINERS_HELPER_BINARY_DIR"); dir != "" {
		return append([]string{dir}, conf...)
	}
	return conf
}

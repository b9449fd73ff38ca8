package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/internal/namefiles"
	"github.com/slipway-build/slipway/builder/internal/network"
)

// The name service of a command: /etc/hosts and /etc/resolv.conf (containers.md §8.3, exact.md there).

// Check refuses what contradicts itself (cli.md §8.6).
func (h Hosts) Check(network Namespace) error {
	if h.NoHosts && len(h.AddHost) > 0 {
		return errors.New("--no-hosts and --add-host conflict, can not be used together")
	}
	for _, a := range h.AddHost {
		if _, err := namefiles.Added(a, "192.0.2.1"); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		flag  string
		given bool
	}{{"dns", len(h.DNSServers) > 0}, {"dns-search", len(h.DNSSearch) > 0}, {"dns-option", len(h.DNSOptions) > 0}} {
		if f.given && network == "none" {
			return fmt.Errorf("the --%s option cannot be used with --network=none", f.flag)
		}
		if f.given && f.flag != "dns" && slices.Contains(h.DNSServers, "none") {
			return fmt.Errorf("the --%s option cannot be used with --dns=none", f.flag)
		}
	}
	if len(h.DNSServers) > 1 && slices.Contains(h.DNSServers, "none") {
		return errors.New("--dns=none cannot be used with other servers")
	}
	for _, s := range h.DNSServers {
		if _, err := netip.ParseAddr(s); err != nil && s != "none" {
			return fmt.Errorf("invalid --dns %q: want an IP address or none", s)
		}
	}
	return nil
}

// nameFiles are the files by their places. link is nil as long as the network is not connected.
func (c *commanded) nameFiles(hostname string, link *network.Link) (map[string]string, error) {
	texts := map[string]string{}
	alone := c.net.Kind == network.None
	if alone && c.w.about.name != "" {
		return texts, nil // a working container has no such files then; RUN, whose container has no name, knows itself
	}
	if !c.box.Hosts.NoHosts {
		base, err := c.baseHosts()
		if err != nil {
			return nil, err
		}
		if alone {
			base = "" // nobody there can be asked
		}
		gateway := first(c.box.Hosts.Gateway, hostAddress())
		if gateway == "none" {
			gateway = ""
		}
		own := gateway
		names := []string{hostname}
		if alone {
			own = ""
		} else if c.net.New() {
			own = ""
			if link != nil && len(link.Addresses) > 0 {
				own = link.Addresses[0].String()
			}
			names = append(names, c.w.about.name)
		}
		hosts := namefiles.Hosts{Base: base, Added: c.box.Hosts.AddHost, Own: own, Names: names, Gateway: gateway}
		if texts["/etc/hosts"], err = hosts.Text(); err != nil {
			return nil, err
		}
	}
	if text, ok := resolvConf(c.box.Hosts, c.net, link); ok && !alone {
		texts["/etc/resolv.conf"] = text
	}
	return texts, nil
}

const maxHosts = 1 << 20

// baseHosts is what /etc/hosts begins with.
func (c *commanded) baseHosts() (string, error) {
	switch base := c.box.Hosts.Base; base {
	case "", "host":
		return readText("/etc/hosts"), nil
	case "none":
		return "", nil
	case "image":
		text, err := c.root.ReadFile("/etc/hosts", maxHosts)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return strings.TrimSpace(string(text)), err
	default:
		text, err := os.ReadFile(base)
		if err != nil {
			err = fmt.Errorf("containers.conf: base_hosts_file: %w", err)
		}
		return strings.TrimSpace(string(text)), err
	}
}

// hostAddress is the host's first address that is no loopback's; empty if it has none.
func hostAddress() string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, four := range []bool{true, false} {
		for _, a := range list {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() == four && p.Addr().IsGlobalUnicast() {
				return p.Addr().String()
			}
		}
	}
	return ""
}

// The host's own name service. The second file is the real one behind a stub that only the host can ask.
const (
	hostResolv = "/etc/resolv.conf"
	stubResolv = "/run/systemd/resolve/resolv.conf"
)

// resolvConf is made of the --dns options, else the host's; ok is false when the image's is to be left alone.
func resolvConf(h Hosts, net network.Choice, link *network.Link) (text string, ok bool) {
	if len(h.DNSServers) == 1 && h.DNSServers[0] == "none" {
		return "", false
	}
	r := hostResolver(net)
	if net.New() && link != nil && (len(r.Servers) == 0 || net.Kind == network.Named && len(link.DNS) > 0) {
		r.Servers = link.DNS
	}
	if len(h.DNSServers)+len(h.DNSSearch)+len(h.DNSOptions) > 0 {
		r.Search, r.Options = h.DNSSearch, h.DNSOptions
		if len(h.DNSServers) > 0 {
			r.Servers = h.DNSServers
		}
	}
	return r.String(), true
}

// hostResolver is the host's, for a network of its own without the servers that only the host reaches.
func hostResolver(net network.Choice) namefiles.Resolver {
	r := namefiles.ParseResolver(readText(hostResolv))
	if !net.New() {
		return r
	}
	if real := readText(stubResolv); real != "" && slices.Contains(r.Servers, "127.0.0.53") {
		r = namefiles.ParseResolver(real)
	}
	r.Servers = slices.DeleteFunc(r.Servers, isLoopback)
	return r
}

func isLoopback(server string) bool {
	a, err := netip.ParseAddr(server)
	return err == nil && a.IsLoopback()
}

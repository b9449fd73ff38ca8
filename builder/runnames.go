package builder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/builder/internal/network"
)

// The name service of a command: /etc/hosts and /etc/resolv.conf (containers.md §8.3, exact.md there).

// Check refuses what contradicts itself (cli.md §8.6).
func (h Hosts) Check(network Namespace) error {
	if h.NoHosts && len(h.AddHost) > 0 {
		return errors.New("--no-hosts and --add-host conflict, can not be used together")
	}
	for _, a := range h.AddHost {
		if _, err := addedHost(a, "192.0.2.1"); err != nil {
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
		Forward: len(hostResolver(c.net).servers) == 0,
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
		if texts["/etc/hosts"], err = hostsFile(base, c.box.Hosts.AddHost, own, names, gateway); err != nil {
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

// hostsFile joins what was asked for, which comes first as the first match counts, the base, and the container's own address with
// its names, of which those are left out that the base has.
func hostsFile(base string, add []string, own string, names []string, gateway string) (string, error) {
	var b strings.Builder
	for _, a := range add {
		line, err := addedHost(a, gateway)
		if err != nil {
			return "", err
		}
		b.WriteString(line)
	}
	known := hostNames(base)
	if base != "" {
		b.WriteString(base + "\n")
	}
	if !known["localhost"] {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	}
	names = slices.DeleteFunc(slices.Compact(slices.Clone(names)), func(n string) bool { return n == "" || known[n] })
	if len(names) > 0 {
		fmt.Fprintf(&b, "%s\t%s\n", first(own, "127.0.1.1"), strings.Join(names, " "))
	}
	if gateway != "" && !known["host.containers.internal"] {
		fmt.Fprintf(&b, "%s\thost.containers.internal host.docker.internal\n", gateway)
	}
	return b.String(), nil
}

// addedHost is the line of one --add-host.
func addedHost(text, gateway string) (string, error) {
	name, ip, ok := strings.Cut(text, ":")
	ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
	switch {
	case !ok || name == "" || strings.ContainsAny(name, " \t\n#"):
		return "", fmt.Errorf("invalid host %q: want name:address or name:host-gateway", text)
	case ip == "host-gateway" && gateway == "":
		return "", fmt.Errorf("host %q: this host has no address other than its loopback's", text)
	case ip == "host-gateway":
		ip = gateway
	default:
		if _, err := netip.ParseAddr(ip); err != nil {
			return "", fmt.Errorf("invalid host %q: %q is no IP address", text, ip)
		}
	}
	return ip + "\t" + name + "\n", nil
}

// hostNames are the names that a hosts file has.
func hostNames(text string) map[string]bool {
	known := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if f := strings.Fields(line); len(f) > 1 {
			for _, name := range f[1:] {
				known[name] = true
			}
		}
	}
	return known
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
	if net.New() && link != nil && (len(r.servers) == 0 || net.Kind == network.Named && len(link.DNS) > 0) {
		r.servers = link.DNS
	}
	if len(h.DNSServers)+len(h.DNSSearch)+len(h.DNSOptions) > 0 {
		r.search, r.options = h.DNSSearch, h.DNSOptions
		if len(h.DNSServers) > 0 {
			r.servers = h.DNSServers
		}
	}
	return r.String(), true
}

// hostResolver is the host's, for a network of its own without the servers that only the host reaches.
func hostResolver(net network.Choice) resolver {
	r := parseResolv(readText(hostResolv))
	if !net.New() {
		return r
	}
	if real := readText(stubResolv); real != "" && slices.Contains(r.servers, "127.0.0.53") {
		r = parseResolv(real)
	}
	r.servers = slices.DeleteFunc(r.servers, isLoopback)
	return r
}

func isLoopback(server string) bool {
	a, err := netip.ParseAddr(server)
	return err == nil && a.IsLoopback()
}

// resolver is the content of a resolv.conf.
type resolver struct{ servers, search, options []string }

func parseResolv(text string) (r resolver) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.servers = append(r.servers, f[1])
		case "search", "domain": // the last one counts
			r.search = f[1:]
		case "options":
			r.options = append(r.options, f[1:]...)
		}
	}
	return r
}

func (r resolver) String() string {
	var b strings.Builder
	if len(r.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(r.search, " "))
	}
	for _, s := range r.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(r.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(r.options, " "))
	}
	return b.String()
}

package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/internal/flock"
)

// Networks that podman keeps, connected by netavark. Addresses are given out by who calls netavark: ours are taken from the end of a
// network's range, as podman takes its own from the beginning.

const (
	netavark      = "netavark"
	usualBridges  = "/etc/containers/networks"
	usualHelpers  = "/usr/local/libexec/podman:/usr/local/lib/podman:/usr/libexec/podman:/usr/lib/podman"
	defaultName   = "podman"
	defaultSubnet = "10.88.0.0/16"
)

// bridged is a network as podman's files have it. What is netavark's business alone is in all only.
type bridged struct {
	all     map[string]any
	Name    string
	Subnets []subnet                `json:"subnets"`
	IPAM    struct{ Driver string } `json:"ipam_options"`
	DNS     []string                `json:"network_dns_servers"`
}

type subnet struct {
	Subnet  netip.Prefix
	Gateway netip.Addr
	Range   struct {
		Start netip.Addr `json:"start_ip"`
		End   netip.Addr `json:"end_ip"`
	} `json:"lease_range"`
}

func readBridged(text []byte) (*bridged, error) {
	b := &bridged{}
	if err := errors.Join(json.Unmarshal(text, b), json.Unmarshal(text, &b.all)); err != nil {
		return nil, err
	}
	for _, s := range b.Subnets {
		if !s.Subnet.IsValid() {
			return nil, errors.New("a subnet has no addresses")
		}
	}
	b.all["dns_enabled"] = false // nobody looks for a build's commands by name, and a server would have to run on
	return b, nil
}

// findBridged finds a network by its name. The default one needs no file.
func (c Config) findBridged(name string) (*bridged, error) {
	if strings.ContainsAny(name, "/") {
		return nil, unknown(name)
	}
	text, err := os.ReadFile(filepath.Join(first(c.BridgeDir, usualBridges), name+".json"))
	if errors.Is(err, fs.ErrNotExist) && name == first(c.DefaultName, defaultName) {
		return c.defaultBridge(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, unknown(name)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for network %s: %w", name, err)
	}
	b, err := readBridged(text)
	if err == nil && b.Name != name {
		err = fmt.Errorf("it is of %q", b.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("network %s: reading its file: %w", name, err)
	}
	return b, nil
}

// defaultBridge is the network that podman makes of nothing.
func (c Config) defaultBridge(name string) (*bridged, error) {
	p, err := netip.ParsePrefix(first(c.DefaultSubnet, defaultSubnet))
	if err != nil {
		return nil, fmt.Errorf("default_subnet in containers.conf: %w", err)
	}
	p = p.Masked()
	return readBridged(fmt.Appendf(nil, `{"name":%q,"id":"2f259bab93aaaaa2542ba43ef33eb990d0999ee1b9924b557b7be53c0b7a1bb9","driver":"bridge",`+
		`"network_interface":"podman0","subnets":[{"subnet":%q,"gateway":%q}],"ipv6_enabled":%t,"internal":false,"ipam_options":{"driver":"host-local"}}`,
		name, p, p.Addr().Next(), p.Addr().Is6()))
}

// connect connects a namespace to the network.
func (b *bridged) connect(ctx context.Context, l *Link, at place, conf Config) error {
	program := conf.find(netavark)
	if program == "" {
		return errors.New("it needs the program netavark: install the package netavark")
	}
	ips, err := b.lease(l, conf.Leases)
	if err != nil {
		return err
	}
	n := &joining{Program: program, Leases: conf.Leases}
	n.Request, err = json.Marshal(map[string]any{
		"container_id": at.id, "container_name": at.id,
		"networks":     map[string]any{b.Name: map[string]any{"interface_name": at.iface, "static_ips": ips}},
		"network_info": map[string]any{b.Name: b.all},
	})
	if err != nil {
		return err
	}
	at.journal.Joined = append(at.journal.Joined, n)
	if err := at.journal.write(); err != nil {
		return err
	}
	ns := at.journal.namespace()
	l.undo = append(l.undo, func() error { return n.teardown(ns) })
	out, err := n.call(ctx, "setup", ns)
	if err != nil {
		return err
	}
	return l.noteBridged(out, b.DNS)
}

// joining is one network of a namespace, through netavark.
type joining struct {
	Program, Leases string
	Request         json.RawMessage
}

func (n *joining) teardown(ns string) error {
	_, err := n.call(context.Background(), "teardown", ns)
	return err
}

// call runs netavark.
func (n *joining) call(ctx context.Context, verb, ns string) ([]byte, error) {
	alone, err := flock.Acquire(filepath.Join(n.Leases, ".lock"), flock.Exclusive) // two of it at once trip over each other's rules
	if err != nil {
		return nil, err
	}
	defer alone.Close()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, n.Program, "--config", n.Leases, verb, ns)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(n.Request), &out, &said
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		var failed struct{ Error string }
		_ = json.Unmarshal(out.Bytes(), &failed)
		return nil, fmt.Errorf("netavark: %s", first(failed.Error, lastLine(said.String()), err.Error()))
	}
	return out.Bytes(), nil
}

// noteBridged remembers what netavark says of a connection.
func (l *Link) noteBridged(out []byte, dns []string) error {
	var status map[string]struct {
		Interfaces map[string]struct {
			Subnets []struct{ IPNet netip.Prefix }
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return fmt.Errorf("reading netavark's answer: %w", err)
	}
	for _, n := range status {
		for _, i := range n.Interfaces {
			for _, s := range i.Subnets {
				l.Addresses = append(l.Addresses, s.IPNet.Addr())
			}
		}
	}
	l.DNS = append(l.DNS, dns...)
	return nil
}

// lease takes an address of each subnet for as long as the link is: a file below dir that is locked.
func (b *bridged) lease(l *Link, dir string) (ips []netip.Addr, err error) {
	switch b.IPAM.Driver {
	case "", "host-local":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("it gets its addresses from %s, which is not supported: use a network with host-local addresses", b.IPAM.Driver)
	}
	dir = filepath.Join(dir, b.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, s := range b.Subnets {
		ip, lock, err := s.lease(dir)
		if err != nil {
			return nil, err
		}
		l.undo = append(l.undo, lock.Remove)
		ips = append(ips, ip)
	}
	return ips, nil
}

// maxLeases is how many addresses of a subnet are tried.
const maxLeases = 1000

func (s subnet) lease(dir string) (netip.Addr, *flock.Lock, error) {
	ip := s.Range.End
	if !ip.IsValid() {
		if ip = last(s.Subnet); ip.Is4() {
			ip = ip.Prev() // the last is everybody's
		}
	}
	for range maxLeases {
		if !s.Subnet.Contains(ip) || ip == s.Subnet.Masked().Addr() || s.Range.Start.IsValid() && ip.Less(s.Range.Start) {
			break
		}
		if ip != s.Gateway {
			lock, err := flock.Try(filepath.Join(dir, ip.String()), flock.Exclusive)
			if err == nil || !errors.Is(err, flock.ErrLocked) {
				return ip, lock, err
			}
		}
		ip = ip.Prev()
	}
	return ip, nil, fmt.Errorf("all addresses of %s are in use", s.Subnet)
}

// last is the last address of a subnet.
func last(p netip.Prefix) netip.Addr {
	ip := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(ip)*8; bit++ {
		ip[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(ip)
	return a
}

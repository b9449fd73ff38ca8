package builder

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/internal/network"
)

func TestHostsFile(t *testing.T) {
	for name, c := range map[string]struct {
		base, own, gateway string
		add, names         []string
		want               string
	}{
		"nothing known": {want: "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
		"own address":   {base: "127.0.0.1 localhost", own: "10.0.2.100", names: []string{"h", "c"}, want: "127.0.0.1 localhost\n10.0.2.100\th c\n"},
		"name is there": {base: "127.0.0.1 localhost h # c", own: "10.0.2.100", names: []string{"h", "c"}, want: "127.0.0.1 localhost h # c\n10.0.2.100\tc\n"},
		"no address":    {base: "::1 localhost", names: []string{"h"}, want: "::1 localhost\n127.0.1.1\th\n"},
		"the host":      {base: "::1 localhost", gateway: "192.0.2.7", want: "::1 localhost\n192.0.2.7\thost.containers.internal host.docker.internal\n"},
		"asked for first": {base: "::1 localhost", add: []string{"a:2001:db8::1", "b:[::2]", "c:host-gateway"}, gateway: "192.0.2.7",
			want: "2001:db8::1\ta\n::2\tb\n192.0.2.7\tc\n::1 localhost\n192.0.2.7\thost.containers.internal host.docker.internal\n"},
	} {
		got, err := hostsFile(c.base, c.add, c.own, c.names, c.gateway)
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%q\nwant\n%q", name, err, got, c.want)
		}
	}
	for _, add := range []string{"name", ":1.2.3.4", "a:1.2.3", "a:host-gateway", "a\n1.2.3.4 b:1.2.3.4"} {
		if got, err := hostsFile("", []string{add}, "", nil, ""); err == nil {
			t.Errorf("%q: accepted as %q", add, got)
		}
	}
}

func TestResolvConf(t *testing.T) {
	got, ok := resolvConf(Hosts{DNSServers: []string{"192.0.2.1"}, DNSSearch: []string{"a", "b"}, DNSOptions: []string{"ndots:2"}}, network.Choice{}, nil)
	if !ok || got != "search a b\nnameserver 192.0.2.1\noptions ndots:2\n" {
		t.Errorf("%q", got)
	}
	if _, ok := resolvConf(Hosts{DNSServers: []string{"none"}}, network.Choice{}, nil); ok {
		t.Error("the image's file is not left alone")
	}
	r := parseResolv("# a comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 2001:db8::1\ndomain x\nsearch y z\noptions edns0\noptions trust-ad\n")
	if r.String() != "search y z\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 2001:db8::1\noptions edns0 trust-ad\n" {
		t.Errorf("%q", r.String())
	}
	got, _ = resolvConf(Hosts{}, network.Choice{Kind: network.Named}, &network.Link{DNS: []string{"192.0.2.9"}})
	if !strings.Contains(got, "nameserver 192.0.2.9\n") {
		t.Errorf("%q", got)
	}
}

func TestHostsCheck(t *testing.T) {
	for want, c := range map[string]struct {
		h Hosts
		n Namespace
	}{
		"--no-hosts and --add-host conflict":                       {h: Hosts{NoHosts: true, AddHost: []string{"a:1.2.3.4"}}},
		"the --dns option cannot be used with --network=none":      {h: Hosts{DNSServers: []string{"1.2.3.4"}}, n: "none"},
		"the --dns-search option cannot be used with --dns=none":   {h: Hosts{DNSServers: []string{"none"}, DNSSearch: []string{"x"}}},
		"--dns=none cannot be used with other servers":             {h: Hosts{DNSServers: []string{"none", "1.2.3.4"}}},
		`invalid --dns "x": want an IP address or none`:            {h: Hosts{DNSServers: []string{"x"}}},
		`invalid host "a": want name:address or name:host-gateway`: {h: Hosts{AddHost: []string{"a"}}},
	} {
		if err := c.h.Check(c.n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

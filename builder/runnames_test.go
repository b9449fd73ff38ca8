package builder

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/builder/internal/network"
)

func TestResolvConf(t *testing.T) {
	got, ok := resolvConf(Hosts{DNSServers: []string{"192.0.2.1"}, DNSSearch: []string{"a", "b"}, DNSOptions: []string{"ndots:2"}}, network.Choice{}, nil)
	if !ok || got != "search a b\nnameserver 192.0.2.1\noptions ndots:2\n" {
		t.Errorf("%q", got)
	}
	if _, ok := resolvConf(Hosts{DNSServers: []string{"none"}}, network.Choice{}, nil); ok {
		t.Error("the image's file is not left alone")
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

package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Choice{
		"": {}, "host": {}, "none": {Kind: None}, "private": {Kind: Private}, "container": {Kind: Private}, "bridge": {Kind: Private},
		"ns:/run/netns/x": {Kind: Joined, Path: "/run/netns/x"}, "/run//netns/x": {Kind: Joined, Path: "/run/netns/x"},
		"pasta": {Kind: Private, Pasta: true}, "pasta:-4,--mtu,1400": {Kind: Private, Pasta: true, Options: []string{"-4", "--mtu", "1400"}},
		"podman": {Kind: Named, Names: []string{"podman"}}, "a,b.c": {Kind: Named, Names: []string{"a", "b.c"}},
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"ns:", "ns:netns/x", "a,", "../x", "a b", "a/b", "slirp4netns:x"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: accepted as %+v", text, got)
		}
	}
}

// The text is the kernel's, shortened.
const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.2.0/24 2 0 1
        |-- 10.0.2.0
           /24 link UNICAST
        |-- 10.0.2.100
           /32 host LOCAL
        |-- 10.0.2.255
           /32 link BROADCAST
     |-- 127.0.0.1
        /32 host LOCAL
Local:
        |-- 10.0.2.100
           /32 host LOCAL
`

func TestLocalAddresses(t *testing.T) {
	if got := localAddresses(trie); !reflect.DeepEqual(got, []netip.Addr{netip.MustParseAddr("10.0.2.100")}) {
		t.Error(got)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1.conflist": `{"cniVersion":"1.0.0","name":"many","plugins":[{"type":"ptp"},{"type":"firewall"}]}`,
		"2.conf":     `{"name":"one","type":"ptp"}`,
		"3.conf":     `not JSON`,
		"4.conf":     `{"name":"escape","type":"../../bin/sh"}`,
		"5.txt":      `{"name":"text","type":"ptp"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := find("/nowhere:"+dir, "many"); err != nil || len(c.Plugins) != 2 || c.Version != "1.0.0" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := find(dir, "one"); err != nil || len(c.Plugins) != 1 || c.Version != "0.2.0" {
		t.Errorf("%+v, %v", c, err)
	}
	for name, want := range map[string]string{"escape": "is no type of plugin", "text": "network not found", "absent": "network not found"} {
		if _, err := find(dir, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNote(t *testing.T) {
	for _, text := range []string{
		`{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.9.0.2/24"}],"dns":{"nameservers":["10.9.0.1"]}}`,
		`{"cniVersion":"0.2.0","ip4":{"ip":"10.9.0.2/24"},"dns":{"nameservers":["10.9.0.1"]}}`,
	} {
		var l Link
		if err := l.note([]byte(text)); err != nil || len(l.Addresses) != 1 || l.Addresses[0].String() != "10.9.0.2" || len(l.DNS) != 1 {
			t.Errorf("%s: %+v, %v", text, l, err)
		}
	}
}

func TestLastLine(t *testing.T) {
	if got := lastLine("a\nthe cause\nFailed to send 3 bytes to syslog\n\n"); got != "the cause" {
		t.Error(got)
	}
}

func TestLease(t *testing.T) {
	dir := t.TempDir()
	b, err := readBridged([]byte(`{"name":"n","subnets":[{"subnet":"10.0.0.4/30","gateway":"10.0.0.5"},{"subnet":"fd00::/64","lease_range":{"end_ip":"fd00::7","start_ip":"fd00::6"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var first, second Link
	ips, err := b.lease(&first, dir)
	if want := []netip.Addr{netip.MustParseAddr("10.0.0.6"), netip.MustParseAddr("fd00::7")}; err != nil || !reflect.DeepEqual(ips, want) {
		t.Errorf("%v, %v", ips, err)
	}
	if ips, err := b.lease(&second, dir); err == nil {
		t.Errorf("an address is used twice: %v", ips)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.lease(&second, dir); err != nil {
		t.Errorf("given back, but %v", err)
	}
}

func TestLast(t *testing.T) {
	for p, want := range map[string]string{"10.88.0.0/16": "10.88.255.255", "10.1.2.3/32": "10.1.2.3", "fd00::/120": "fd00::ff", "192.168.1.64/27": "192.168.1.95"} {
		if got := last(netip.MustParsePrefix(p)); got.String() != want {
			t.Errorf("%s: %s, want %s", p, got, want)
		}
	}
}

func TestReadBridged(t *testing.T) {
	for _, text := range []string{"", "{}x", `{"subnets":[{}]}`, `{"subnets":[{"subnet":"10.0.0.0"}]}`} {
		if _, err := readBridged([]byte(text)); err == nil {
			t.Errorf("%q: accepted", text)
		}
	}
}

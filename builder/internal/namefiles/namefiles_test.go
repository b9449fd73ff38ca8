package namefiles

import "testing"

func TestHosts(t *testing.T) {
	t.Parallel()
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
		got, err := Hosts{Base: c.base, Added: c.add, Own: c.own, Names: c.names, Gateway: c.gateway}.Text()
		if err != nil || got != c.want {
			t.Errorf("%s: %v\n%q\nwant\n%q", name, err, got, c.want)
		}
	}
	for _, add := range []string{"name", ":1.2.3.4", "a:1.2.3", "a:host-gateway", "a\n1.2.3.4 b:1.2.3.4"} {
		if got, err := (Hosts{Added: []string{add}}).Text(); err == nil {
			t.Errorf("%q: accepted as %q", add, got)
		}
	}
}

func TestResolver(t *testing.T) {
	t.Parallel()
	r := ParseResolver("# a comment\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 2001:db8::1\ndomain x\nsearch y z\noptions edns0\noptions trust-ad\n")
	if r.String() != "search y z\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 2001:db8::1\noptions edns0 trust-ad\n" {
		t.Errorf("%q", r.String())
	}
}

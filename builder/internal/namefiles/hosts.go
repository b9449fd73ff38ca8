// Package namefiles writes what a command's name service reads: /etc/hosts and /etc/resolv.conf (containers.md §8.3, exact.md there). It is pure: whose
// files those are, and which addresses there are, package builder finds out.
package namefiles

import (
	"bufio"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Hosts is what /etc/hosts is made of.
type Hosts struct {
	// Base is the text of another such file, without the last line end.
	Base string
	// Added are NAME:ADDRESS or NAME:host-gateway.
	Added []string
	// Own is the container's address, empty for none of its own, and Names what it is called.
	Own   string
	Names []string
	// Gateway is the host's address; empty if it has none.
	Gateway string
}

// Text joins what was asked for, which comes first as the first match counts, the base, and the container's own address with
// its names, of which those are left out that the base has.
func (h Hosts) Text() (string, error) {
	var b strings.Builder
	for _, a := range h.Added {
		line, err := Added(a, h.Gateway)
		if err != nil {
			return "", err
		}
		b.WriteString(line)
	}
	known := named(h.Base)
	if h.Base != "" {
		b.WriteString(h.Base + "\n")
	}
	if !known["localhost"] {
		b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	}
	names := slices.DeleteFunc(slices.Compact(slices.Clone(h.Names)), func(n string) bool { return n == "" || known[n] })
	if len(names) > 0 {
		fmt.Fprintf(&b, "%s\t%s\n", cmp.Or(h.Own, "127.0.1.1"), strings.Join(names, " "))
	}
	if h.Gateway != "" && !known["host.containers.internal"] {
		fmt.Fprintf(&b, "%s\thost.containers.internal host.docker.internal\n", h.Gateway)
	}
	return b.String(), nil
}

// Added is the line for NAME:ADDRESS, or for NAME:host-gateway where the host has the address gateway. An error says what text should look like.
func Added(text, gateway string) (string, error) {
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

// named are the names that a hosts file has.
func named(text string) map[string]bool {
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

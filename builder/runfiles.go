package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// files writes what a command is given of the network and of the container it is in, and returns the
// mounts that show it (containers.md §8.3). None of it ever gets into the image.
func (w *Workspace) files(dir, hostname string, box Sandbox, hostNet bool) ([]specs.Mount, error) {
	texts := map[string]string{"/run/.containerenv": w.containerenv()}
	if !box.Hosts.NoHostname {
		texts["/etc/hostname"] = hostname + "\n"
	}
	if box.Namespaces.Network != "none" {
		if !box.Hosts.NoHosts {
			texts["/etc/hosts"] = hostsFile(hostname, box.Hosts.AddHost, hostNet)
		}
		if text, ok := resolvConf(box.Hosts); ok {
			texts["/etc/resolv.conf"] = text
		}
	}
	var list []specs.Mount
	for target, text := range texts {
		file := filepath.Join(dir, filepath.Base(target))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // users of the container read it
			return nil, err
		}
		list = append(list, specs.Mount{Destination: target, Type: "bind", Source: file, Options: []string{"bind", "private"}})
	}
	return list, nil
}

func (w *Workspace) containerenv() string {
	rootless := 0
	if os.Getuid() != 0 || oneID() {
		rootless = 1
	}
	return fmt.Sprintf("engine=\"slipway\"\nname=%q\nid=%q\nimage=%q\nimageid=%q\nrootless=%d\n",
		w.about.name, w.about.id, w.about.image, w.about.imageID, rootless)
}

// hostsFile is the host's file, when its network is shared, with the container's own name and what was asked for.
func hostsFile(hostname string, add []string, hostNet bool) string {
	var b strings.Builder
	for _, a := range add {
		if name, ip, ok := strings.Cut(a, ":"); ok {
			fmt.Fprintf(&b, "%s\t%s\n", ip, name)
		}
	}
	base := ""
	if hostNet {
		base = readText("/etc/hosts")
	}
	if base == "" {
		base = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback"
	}
	b.WriteString(base + "\n")
	if hostname != "" && !strings.Contains(base, hostname) {
		fmt.Fprintf(&b, "127.0.1.1\t%s\n", hostname)
	}
	return b.String()
}

// resolvConf is made of the --dns options, else the host's; ok is false when the image's is to be left alone.
func resolvConf(h Hosts) (text string, ok bool) {
	if len(h.DNSServers) == 1 && h.DNSServers[0] == "none" {
		return "", false
	}
	if len(h.DNSServers)+len(h.DNSSearch)+len(h.DNSOptions) == 0 {
		return readText("/etc/resolv.conf") + "\n", true
	}
	var b strings.Builder
	if len(h.DNSSearch) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(h.DNSSearch, " "))
	}
	for _, s := range h.DNSServers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(h.DNSServers) == 0 {
		for _, line := range strings.Split(readText("/etc/resolv.conf"), "\n") {
			if strings.HasPrefix(line, "nameserver") {
				b.WriteString(line + "\n")
			}
		}
	}
	if len(h.DNSOptions) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(h.DNSOptions, " "))
	}
	return b.String(), true
}

// ociRuntime is the runtime that isolation oci uses when none is named.
func ociRuntime() string {
	for _, name := range []string{"crun", "runc"} {
		for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/usr/sbin", "/usr/local/sbin", "/bin", "/sbin"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return name
			}
		}
	}
	return ""
}

func rootless() bool {
	return os.Getuid() != 0 || readText("/proc/self/uid_map") != "0          0 4294967295"
}

package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The network that a command sees through pasta or slirp4netns. Its addresses are not the host's, so that the host can be
// reached under its own; the host's loopback addresses cannot be reached at all.
const (
	address   = "10.0.2.100"
	gateway   = "10.0.2.2"
	forwarder = "10.0.2.3" // passes questions on to the host's name server
)

const connectLimit = 20 * time.Second

// tunnel is what such a program makes its end of the network from.
const tunnel = "/dev/net/tun"

// usermode starts the program and waits until the namespace has a route.
func (c Choice) usermode(ctx context.Context, l *Link, ns *os.File, pid int, conf Config) error {
	argv, err := c.translator(conf)
	if err != nil {
		return err
	}
	if err := unix.Access(tunnel, unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("a private network needs %s, which cannot be used here (%w): give this user access to it, or use --network host or none", tunnel, err)
	}
	conf.Log.Debug("connecting a network", "program", argv[0], "pid", pid)
	var said bytes.Buffer
	cmd := &exec.Cmd{
		Path: argv[0], Args: argv, Stdin: ns, Stdout: &said, Stderr: &said, Env: []string{"PATH=/usr/bin:/bin"},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}, WaitDelay: time.Second,
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", argv[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	l.undo = append(l.undo, func() error {
		_ = cmd.Process.Kill()
		<-ended
		return nil
	})
	limit := time.NewTimer(connectLimit)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("%s could not connect the network: %s", argv[0], first(lastLine(said.String()), fmt.Sprint(err), "it ended"))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-limit.C:
			return fmt.Errorf("%s did not connect the network within %v", argv[0], connectLimit)
		case <-tick.C:
		}
		if routed(pid) {
			l.Addresses, l.DNS = addresses(pid), []string{forwarder}
			return nil
		}
	}
}

// translator is the program with its arguments. What it joins is its standard input.
func (c Choice) translator(conf Config) ([]string, error) {
	const ns = "/proc/self/fd/0"
	if p := conf.find("pasta"); p != "" && (c.Pasta || conf.Program != "slirp4netns") {
		argv := []string{p, "--foreground", "--quiet", "--config-net", "--address", address, "--netmask", "24", "--gateway", gateway,
			"--no-map-gw", "--no-netns-quit", "-t", "none", "-u", "none", "-T", "none", "-U", "none", "--netns-only"}
		if conf.Forward { // else not: answers of the host's name server, asked under its own address, would come from another
			argv = append(argv, "--dns-forward", forwarder)
		}
		if hostRoot() { // it would become nobody, who may not join; it gives up its capabilities all the same
			argv = append(argv, "--runas", "0")
		}
		return append(append(append(argv, conf.PastaOptions...), c.Options...), "--netns", ns), nil
	}
	if c.Pasta || conf.Program == "pasta" {
		return nil, errors.New("--network pasta needs the program pasta: install the package passt")
	}
	if p := conf.find("slirp4netns"); p != "" {
		argv := []string{p, "--configure", "--mtu=65520", "--disable-host-loopback", "--netns-type=path"}
		if hostRoot() {
			argv = append(argv, "--enable-sandbox")
		}
		return append(argv, ns, "tap0"), nil
	}
	if conf.Program == "slirp4netns" {
		return nil, errors.New("a private network needs the program slirp4netns, which containers.conf asks for: install it, or use --network host or none")
	}
	return nil, errors.New("a private network needs the program pasta or slirp4netns: install the package passt, or use --network host or none")
}

// find is where a program is, empty for nowhere. netavark is never on PATH.
func (c Config) find(name string) string {
	dirs := c.Helpers
	if len(dirs) == 0 && name == netavark {
		dirs = filepath.SplitList(usualHelpers)
	}
	for _, dir := range dirs {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p
		}
	}
	p, _ := exec.LookPath(name) // empty with an error
	return p
}

// hostRoot tells whether we are root outside of any user namespace.
func hostRoot() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(text))
	return os.Geteuid() == 0 && err == nil && len(f) == 3 && f[2] == "4294967295"
}

// routed tells whether there is a way out of the network namespace of a process.
func routed(pid int) bool {
	v4, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/route", pid))
	for _, line := range strings.Split(string(v4), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[1] == "00000000" {
			return true
		}
	}
	v6, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/ipv6_route", pid))
	for _, line := range strings.Split(string(v6), "\n") {
		if f := strings.Fields(line); len(f) > 9 && f[0] == strings.Repeat("0", 32) && f[1] == "00" && f[9] != "lo" {
			return true
		}
	}
	return false
}

// addresses are the IPv4 addresses in the network namespace of a process, as its routes have them.
func addresses(pid int) []netip.Addr {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/fib_trie", pid))
	return localAddresses(string(text))
}

func localAddresses(trie string) (list []netip.Addr) {
	known := map[netip.Addr]bool{}
	last := netip.Addr{}
	for _, line := range strings.Split(trie, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "|--":
			last, _ = netip.ParseAddr(f[1])
		case len(f) == 3 && f[0] == "/32" && f[2] == "LOCAL" && last.IsValid() && !last.IsLoopback() && !known[last]:
			known[last] = true
			list = append(list, last)
		}
	}
	return list
}

// lastLine is what a program said last, without the complaint that there is no system logger.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if line := strings.TrimSpace(lines[i]); line != "" && !strings.HasSuffix(line, "to syslog") {
			return line
		}
	}
	return ""
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

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
	"slices"
	"strings"
	"syscall"
)

// Where networks and plugins are looked for.
const (
	usualConf    = "/etc/cni/net.d"
	usualPlugins = "/usr/local/libexec/cni:/usr/libexec/cni:/usr/local/lib/cni:/usr/lib/cni:/opt/cni/bin"
)

// conflist is a network's configuration, in the format of the container network interface.
type conflist struct {
	Version string           `json:"cniVersion"`
	Name    string           `json:"name"`
	Plugins []map[string]any `json:"plugins"`
}

const maxConf = 1 << 20

// readConf reads a file with a list of plugins, or with one.
func readConf(text []byte) (conflist, error) {
	var c conflist
	if err := json.Unmarshal(text, &c); err != nil {
		return c, err
	}
	if c.Plugins == nil {
		var one map[string]any
		if err := json.Unmarshal(text, &one); err != nil {
			return c, err
		}
		c.Plugins = []map[string]any{one}
	}
	if c.Version == "" {
		c.Version = "0.2.0"
	}
	for _, p := range c.Plugins {
		kind, _ := p["type"].(string)
		if kind == "" || filepath.Base(kind) != kind {
			return c, fmt.Errorf("%q is no type of plugin", kind)
		}
	}
	return c, nil
}

// find finds a network by its name. Files that cannot be read as one are somebody else's.
func find(dirs, name string) (conflist, error) {
	for _, dir := range filepath.SplitList(first(dirs, usualConf)) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return conflist{}, fmt.Errorf("looking for network %s: %w", name, err)
		}
		for _, e := range entries {
			if !slices.Contains([]string{".conflist", ".conf", ".json"}, filepath.Ext(e.Name())) {
				continue
			}
			file := filepath.Join(dir, e.Name())
			st, err := os.Stat(file)
			if err != nil || !st.Mode().IsRegular() || st.Size() > maxConf {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return conflist{}, fmt.Errorf("looking for network %s: %w", name, err)
			}
			var is struct{ Name string }
			if json.Unmarshal(text, &is) != nil || is.Name != name {
				continue
			}
			c, err := readConf(text)
			if err != nil {
				return c, fmt.Errorf("network %s: %s: %w", name, file, err)
			}
			return c, nil
		}
	}
	return conflist{}, unknown(name)
}

// attachment is one network of a namespace.
type attachment struct {
	Conf      conflist
	ID, Iface string
	Path      []string        // of the plugins
	Result    json.RawMessage // of those that have been called
}

// connect connects a namespace to the network.
func (c conflist) connect(ctx context.Context, l *Link, at place, conf Config) error {
	a := &attachment{Conf: c, ID: at.id, Iface: at.iface, Path: filepath.SplitList(first(conf.PluginPath, usualPlugins))}
	for _, p := range c.Plugins {
		if _, err := a.program(p["type"].(string)); err != nil { //nolint:forcetypeassert // readConf has looked
			return err
		}
	}
	at.journal.Attached = append(at.journal.Attached, a)
	if err := at.journal.write(); err != nil {
		return err
	}
	ns := at.journal.namespace()
	l.undo = append(l.undo, func() error { return a.del(ns) })
	if err := errors.Join(a.add(ctx, ns), at.journal.write()); err != nil {
		return err
	}
	return l.note(a.Result)
}

func (a *attachment) add(ctx context.Context, ns string) error {
	for _, p := range a.Conf.Plugins {
		out, err := a.call(ctx, "ADD", ns, p)
		if err != nil {
			return err
		}
		a.Result = out
	}
	return nil
}

// del undoes add, as far as it came. ns is empty when the namespace is gone.
func (a *attachment) del(ns string) error {
	var errs []error
	for _, p := range slices.Backward(a.Conf.Plugins) {
		if _, err := a.call(context.Background(), "DEL", ns, p); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", a.Conf.Name, err))
		}
	}
	return errors.Join(errs...)
}

// call runs one plugin.
func (a *attachment) call(ctx context.Context, verb, ns string, plugin map[string]any) (json.RawMessage, error) {
	kind := plugin["type"].(string) //nolint:forcetypeassert // readConf has looked
	program, err := a.program(kind)
	if err != nil {
		return nil, err
	}
	in := map[string]any{}
	for k, v := range plugin {
		in[k] = v
	}
	in["name"], in["cniVersion"] = a.Conf.Name, a.Conf.Version
	if a.Result != nil {
		in["prevResult"] = a.Result
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + a.ID, "CNI_NETNS=" + ns,
		"CNI_IFNAME=" + a.Iface, "CNI_PATH=" + strings.Join(a.Path, ":")}
	if err := cmd.Run(); err != nil {
		var failed struct{ Msg, Details string }
		_ = json.Unmarshal(out.Bytes(), &failed)
		return nil, fmt.Errorf("plugin %s: %s", kind, first(strings.TrimSpace(failed.Msg+" "+failed.Details), lastLine(said.String()), err.Error()))
	}
	if verb != "ADD" {
		return nil, nil
	}
	if !json.Valid(out.Bytes()) {
		return nil, fmt.Errorf("plugin %s: its answer is no JSON", kind)
	}
	return out.Bytes(), nil
}

func (a *attachment) program(kind string) (string, error) {
	for _, dir := range a.Path {
		file := filepath.Join(dir, kind)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("plugin %s is not in %s: install the package containernetworking-plugins", kind, strings.Join(a.Path, ":"))
}

// note remembers what a network's plugins say of it.
func (l *Link) note(result json.RawMessage) error {
	var r struct {
		IPs []struct{ Address netip.Prefix }
		IP4 struct{ IP string }
		DNS struct{ Nameservers []string }
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return fmt.Errorf("reading the plugins' answer: %w", err)
	}
	for _, ip := range r.IPs {
		l.Addresses = append(l.Addresses, ip.Address.Addr())
	}
	if p, err := netip.ParsePrefix(r.IP4.IP); err == nil {
		l.Addresses = append(l.Addresses, p.Addr())
	}
	l.DNS = append(l.DNS, r.DNS.Nameservers...)
	return nil
}

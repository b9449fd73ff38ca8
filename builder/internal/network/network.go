// Package network gives a command's new network namespace a connection: through a program that translates its traffic
// into ordinary sockets of ours (pasta, else slirp4netns; both work without privilege), or to networks that a host's administrator has
// configured: through plugins of the container network interface, or through podman's netavark. Start with Parse; Choice.Attach connects.
//
// Nothing here enters a namespace: the programs do, by the descriptor that they are given (decisions.md §1.8).
package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind is what the network of a command is.
type Kind int

// The kinds.
const (
	Host    Kind = iota // the host's own
	None                // a loopback interface only
	Private             // its own, connected by pasta or slirp4netns
	Joined              // one that exists
	Named               // its own, connected to networks that the host knows by name
)

// Choice is one value of --network, read.
type Choice struct {
	Kind Kind
	// Path is the namespace to join.
	Path string
	// Pasta says that no other program will do, Options are further ones for it.
	Pasta   bool
	Options []string
	// Names are those of networks.
	Names []string
}

// New tells whether the command has a network namespace of its own.
func (c Choice) New() bool { return c.Kind != Host && c.Kind != Joined }

// Parse reads a value of --network (cli.md §8.2). The empty one is the host's network.
func Parse(text string) (Choice, error) {
	switch text {
	case "", "host":
		return Choice{}, nil
	case "none":
		return Choice{Kind: None}, nil
	case "private", "container", "bridge":
		return Choice{Kind: Private}, nil
	}
	if p, ok := strings.CutPrefix(text, "ns:"); ok || path.IsAbs(text) {
		if !ok {
			p = text
		}
		if !path.IsAbs(p) {
			return Choice{}, fmt.Errorf("invalid network %q: the path of a namespace must be absolute", text)
		}
		return Choice{Kind: Joined, Path: path.Clean(p)}, nil
	}
	if name, options, given := strings.Cut(text, ":"); name == "pasta" {
		c := Choice{Kind: Private, Pasta: true}
		if given {
			c.Options = strings.Split(options, ",")
		}
		return c, nil
	}
	c := Choice{Kind: Named, Names: strings.Split(text, ",")}
	valid := regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)
	for _, name := range c.Names {
		if !valid.MatchString(name) {
			return c, unknown(name)
		}
	}
	return c, nil
}

var errUnknown = errors.New("network not found")

func unknown(name string) error {
	return fmt.Errorf("unable to find network with name or ID %s: %w", name, errUnknown)
}

// Config is where networks are found. Both are lists of directories, separated by colons; empty is what is usual.
type Config struct {
	ConfDir, PluginPath string
	// Helpers are directories that programs are looked for in before PATH. Program, pasta or slirp4netns, is the one to take, empty
	// whichever is there; PastaOptions are further options for the first.
	Helpers      []string
	Program      string
	PastaOptions []string
	// Forward says that the namespace reaches none of the host's name servers itself: they listen on its loopback.
	Forward bool
	// Backend says whose networks there are, cni or netavark; empty is both, in this order. BridgeDir is where podman keeps its networks,
	// DefaultName and DefaultSubnet are of the one that needs no file, Leases is a directory of ours for the addresses that are in use.
	Backend                    string
	BridgeDir                  string
	DefaultName, DefaultSubnet string
	Leases                     string
	// Journal is the command's own directory: what is to be undone if this program is killed is noted there (see [Undo]).
	Journal string
	Log     *slog.Logger
}

// A Link is the connection of one namespace.
type Link struct {
	// Addresses are the namespace's own, without the loopback's. DNS are servers that only it can reach, or that were configured for
	// its network.
	Addresses []netip.Addr
	DNS       []string
	undo      []func() error
}

// Close takes the connection down again. It may be called when the namespace is gone.
func (l *Link) Close() error {
	var errs []error
	for i := len(l.undo) - 1; i >= 0; i-- {
		errs = append(errs, l.undo[i]())
	}
	l.undo = nil
	return errors.Join(errs...)
}

// Attach connects the network namespace of a process. The caller closes the link when the process has ended. The programs
// end with the calling thread, which the caller keeps for as long.
func (c Choice) Attach(ctx context.Context, pid int, id string, conf Config) (*Link, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("connecting the command's network: %w", err)
	}
	l := &Link{undo: []func() error{ns.Close}}
	switch c.Kind {
	case Private:
		if c.bridged(conf) {
			c.Names = []string{first(conf.DefaultName, defaultName)}
			conf.Backend = netavark
			err = c.named(ctx, l, ns, id, conf)
		} else {
			err = c.usermode(ctx, l, ns, pid, conf)
		}
	case Named:
		err = c.named(ctx, l, ns, id, conf)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// bridged tells whether a private network is podman's default one.
func (c Choice) bridged(conf Config) bool {
	return !c.Pasta && conf.Program == "" && filepath.Base(conf.PrivateProgram()) == netavark
}

// PrivateProgram is the program that connects a private network where none is named, empty if there is none: pasta, slirp4netns, or for
// root, where there is nothing else, netavark.
func (c Config) PrivateProgram() string {
	for _, name := range []string{"pasta", "slirp4netns"} {
		if p := c.find(name); p != "" {
			return p
		}
	}
	if hostRoot() {
		return c.find(netavark)
	}
	return ""
}

// A connector is a network that the host knows by name.
type connector interface {
	// connect connects a namespace; what the link takes down again may be a part of it when it fails.
	connect(ctx context.Context, l *Link, at place, conf Config) error
}

// place is one interface of a namespace.
type place struct {
	journal   *journal
	id, iface string
}

// named connects the namespace to each of the networks.
func (c Choice) named(ctx context.Context, l *Link, ns *os.File, id string, conf Config) error {
	if !hostRoot() {
		return fmt.Errorf("networks by name need root: use --network private, host or none instead of %s", strings.Join(c.Names, ","))
	}
	j, err := openJournal(conf.Journal, ns)
	if err != nil {
		return err
	}
	l.undo = append(l.undo, j.close)
	for i, name := range c.Names {
		n, err := conf.network(name)
		if err != nil {
			return err
		}
		conf.Log.Debug("connecting a network", "name", name)
		if err := n.connect(ctx, l, place{j, id, fmt.Sprintf("eth%d", i)}, conf); err != nil {
			return fmt.Errorf("network %s: %w", name, err)
		}
	}
	return nil
}

// network finds a network by its name.
func (c Config) network(name string) (connector, error) {
	switch c.Backend {
	case "", "cni", netavark:
	default:
		return nil, fmt.Errorf("network_backend %q in containers.conf: want cni or netavark", c.Backend)
	}
	if c.Backend != netavark {
		list, err := find(c.ConfDir, name)
		if err == nil || c.Backend == "cni" || !errors.Is(err, errUnknown) {
			return list, err
		}
	}
	return c.findBridged(name)
}

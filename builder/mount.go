package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/mounts"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// A Mount is one mount that a command asked for.
type Mount = mounts.Mount

// ParseMount reads one value of --mount (cli.md §8.14, dockerfile.md §5.5). expand, which may be nil, replaces the
// variables in values.
func ParseMount(text string, expand func(string) (string, error)) (Mount, error) {
	m, err := mounts.Parse(text, expand)
	if err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", text, err)
	}
	return m, nil
}

// mounting turns the mounts of one command into those of a specification. Whatever a mount needs on the host is pinned
// by a descriptor before it is used, so that nobody can put something else in its place (CVE-2024-1753, CVE-2024-11218).
type mounting struct {
	w     *Workspace
	root  *rootfs.Root // the container's
	label string       // for what is made for the command
	o     RunOptions
	user  spec.User
	dir   string // working directory of the command
	job   string // private directory for as long as the command runs
	list  []specs.Mount
	trees []*os.File // what is bound: see runner.Job
	files []runner.File
	env   []string
	names []string // targets, to find doubles
	// ids are the maps of the command's user namespace, nil for none; shift applies them to mounts.
	ids   *idmap.IDs
	shift *shifter
	// detached has file systems in memory made before the runner mounts them.
	detached bool
	undo     []func() error // in reverse order
	// caches are those that this command holds already, by key.
	caches map[string]string
	// agents counts the agents; the first one's socket is announced.
	agents int
	socket string
}

// mount prepares all mounts of a command: those of box and its own. The caller calls close, also after an error.
func (p *mounting) mount(ctx context.Context, box Sandbox) error {
	asked, err := p.hostMounts(box.Volumes, box.Mounts)
	if err != nil {
		return err
	}
	defaults, err := p.hostMounts(box.DefaultVolumes, box.DefaultMounts)
	if err != nil {
		return fmt.Errorf("containers.conf: %w", err)
	}
	for _, m := range append(asked, p.o.Mounts...) {
		if m, err = m.At(p.dir, p.agents); err != nil {
			return err
		}
		if m.Target != "" && slices.Contains(p.names, m.Target) {
			return fmt.Errorf("%s is mounted on twice", m.Target)
		}
		if err := p.one(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range defaults {
		if m, err = m.At(p.dir, p.agents); err != nil {
			return err
		}
		if slices.Contains(p.names, m.Target) {
			continue
		}
		if err := p.one(ctx, m); err != nil {
			return fmt.Errorf("containers.conf: %w", err)
		}
	}
	return nil
}

// hostMounts reads volumes, and values of --mount that bind paths of the host.
func (p *mounting) hostMounts(volumes, values []string) (list []Mount, err error) {
	for _, v := range volumes {
		m, err := mounts.Volume(v)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	for _, text := range values {
		m, err := ParseMount(text, nil)
		if err != nil {
			return nil, err
		}
		m.Host = m.Type == "bind" && m.From == ""
		list = append(list, m)
	}
	return list, nil
}

// one prepares one mount, and notes its target.
func (p *mounting) one(ctx context.Context, m Mount) error {
	p.names = append(p.names, m.Target)
	if err := p.typed(ctx, m); err != nil {
		return fmt.Errorf("%s mount on %s: %w", m.Type, first(m.Target, "$"+m.Env), err)
	}
	return nil
}

func (p *mounting) typed(ctx context.Context, m Mount) error {
	switch m.Type {
	case "bind":
		return p.bind(ctx, m)
	case "cache":
		return p.cache(ctx, m)
	case "secret":
		return p.secret(m)
	case "ssh":
		return p.agent(m)
	}
	return p.memory(ctx, m)
}

// close takes back what the mounts needed.
func (p *mounting) close() error {
	var errs []error
	for _, f := range slices.Backward(p.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// tree makes a mount of an open file or directory, which a runner attaches wherever it likes, and returns the name it
// goes by. It closes f.
func (p *mounting) tree(m Mount, f *os.File) (string, error) {
	defer f.Close()
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if m.Recursive() {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return "", fmt.Errorf("binding %s: %w", f.Name(), err)
	}
	t := os.NewFile(uintptr(fd), f.Name())
	p.undo = append(p.undo, t.Close)
	p.trees = append(p.trees, t)
	return runner.TreePath(len(p.trees) - 1), nil
}

// attach binds an open file or directory, and closes it.
func (p *mounting) attach(m Mount, f *os.File) error {
	source, err := p.tree(m, f)
	if err != nil {
		return err
	}
	p.list = append(p.list, p.bound(m, source))
	return nil
}

// attachOurs binds what is no path of the host, so that its owners mean the container's. It closes f; the error is errNotShifted if the file
// system cannot show them so.
func (p *mounting) attachOurs(m Mount, f *os.File) error {
	source, err := p.tree(m, f)
	if err != nil {
		return err
	}
	if err := p.shift.apply(p.trees[len(p.trees)-1]); err != nil {
		return err
	}
	p.list = append(p.list, p.bound(m, source))
	return nil
}

// bound is the bind mount that m asks for.
func (p *mounting) bound(m Mount, source string) specs.Mount {
	options := []string{"rbind"}
	if !m.Recursive() {
		options[0] = "bind"
	}
	for _, o := range m.Options {
		if o != "bind" && o != "rbind" {
			options = append(options, o)
		}
	}
	// Files of a context, an image or a stage may be devices of the host: only what was asked for as a device is one.
	if !slices.Contains(options, "dev") && !slices.Contains(options, "nodev") {
		options = append(options, deviceOption(m))
	}
	if !slices.ContainsFunc(options, isPropagation) {
		options = append(options, "rprivate")
	}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: options}
}

func deviceOption(m Mount) string {
	if m.Host && (m.Source == "/dev" || strings.HasPrefix(m.Source, "/dev/")) {
		return "dev"
	}
	return "nodev"
}

func isPropagation(o string) bool {
	return strings.HasSuffix(o, "private") || strings.HasSuffix(o, "slave") || strings.HasSuffix(o, "shared")
}

// mountSource is what a mount is taken from.
type mountSource struct {
	root     *rootfs.Root
	ignore   *copier.Ignore
	rootOwns bool
}

// source opens what mounts are taken from. A root that was opened for this mount is closed with the others.
func (p *mounting) source(ctx context.Context, from string) (mountSource, error) {
	if from == "" {
		ignore, err := copier.ReadIgnore(p.o.IgnoreFile)
		return mountSource{p.o.Context, ignore, p.o.RootOwns}, err
	}
	open := p.o.Open
	if open == nil {
		open = p.w.s.openImage
	}
	src, err := open(ctx, from)
	if err != nil {
		return mountSource{}, err
	}
	p.undo = append(p.undo, src.Close)
	ignore, err := copier.ReadIgnore(src.IgnoreFile)
	return mountSource{src.Root, ignore, src.RootOwns}, err
}

// openImage opens the file system of an image, pulled if it is not there.
func (s *Store) openImage(ctx context.Context, name string) (MountSource, error) {
	img, err := s.Pull(ctx, name, PullOptions{})
	if err != nil {
		return MountSource{}, err
	}
	root, done, err := img.Open()
	return MountSource{Root: root, Close: done}, err
}

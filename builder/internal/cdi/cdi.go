// Package cdi reads the files of the container device interface, in which whoever installs a device says what a container needs to use
// it: variables, nodes, mounts, hooks. A device is asked for by a name, VENDOR/CLASS=NAME. Nothing is done here: Resolve says what to do.
package cdi

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gopkg.in/yaml.v3"

	"github.com/slipway-build/slipway/builder/internal/hooks"
)

// Bounds on what is read.
const (
	maxSize  = 1 << 20
	maxFiles = 1000
)

// Dirs are where the files are, if nothing else is said; the last one wins.
func Dirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// Edits is what a command needs for its devices.
type Edits struct {
	Env []string
	// Devices are "HOST:CONTAINER:rwm".
	Devices []string
	Mounts  []specs.Mount
	// Hooks is nil for none.
	Hooks  *specs.Hooks
	Groups []uint32
}

// Qualified tells whether a text is the name of a device rather than a path.
func Qualified(text string) bool {
	kind, name, ok := strings.Cut(text, "=")
	return ok && !path.IsAbs(text) && validKind(kind) && validName(name)
}

func validKind(kind string) bool {
	return regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9_.-]*[a-zA-Z0-9])?/[a-zA-Z]([a-zA-Z0-9_-]*[a-zA-Z0-9])?$`).MatchString(kind)
}

func validName(name string) bool {
	return regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9_.:-]*[a-zA-Z0-9])?$`).MatchString(name)
}

// document is one file. YAML has JSON in it.
type document struct {
	Version string   `yaml:"cdiVersion"`
	Kind    string   `yaml:"kind"`
	Devices []device `yaml:"devices"`
	Edits   edits    `yaml:"containerEdits"`
	Notes   notes    `yaml:"annotations"`
}

type device struct {
	Name  string `yaml:"name"`
	Edits edits  `yaml:"containerEdits"`
	Notes notes  `yaml:"annotations"`
}

// notes are the annotations that count here.
type notes struct {
	Class string `yaml:"org.mobyproject.buildkit.device.class"`
}

type edits struct {
	Env   []string `yaml:"env"`
	Nodes []struct {
		Path        string `yaml:"path"`
		HostPath    string `yaml:"hostPath"`
		Permissions string `yaml:"permissions"`
	} `yaml:"deviceNodes"`
	Mounts []struct {
		HostPath      string   `yaml:"hostPath"`
		ContainerPath string   `yaml:"containerPath"`
		Type          string   `yaml:"type"`
		Options       []string `yaml:"options"`
	} `yaml:"mounts"`
	Hooks []struct {
		Name    string   `yaml:"hookName"`
		Path    string   `yaml:"path"`
		Args    []string `yaml:"args"`
		Env     []string `yaml:"env"`
		Timeout *int     `yaml:"timeout"`
	} `yaml:"hooks"`
	Groups []uint32 `yaml:"additionalGids"`
	// What no runner here can do.
	IntelRDT   *yaml.Node `yaml:"intelRdt"`
	NetDevices *yaml.Node `yaml:"netDevices"`
}

// Resolve finds devices by their names in the files of directories, of which later ones win. What several devices of a kind have in
// common is asked for once.
func Resolve(dirs, names []string) (Edits, error) {
	var e Edits
	if len(names) == 0 {
		return e, nil
	}
	layers, damaged, err := read(dirs)
	if err != nil {
		return e, err
	}
	var common []*document
	for _, name := range names {
		doc, dev, err := find(layers, name)
		if err != nil {
			return e, err
		}
		if dev == nil {
			err := fmt.Errorf("device %s: no file in %s describes it", name, strings.Join(dirs, ", "))
			return e, errors.Join(append([]error{err}, damaged...)...)
		}
		if !slices.Contains(common, doc) {
			common = append(common, doc)
			if err := e.add(doc.Edits); err != nil {
				return e, fmt.Errorf("device %s: %w", name, err)
			}
		}
		if err := e.add(dev.Edits); err != nil {
			return e, fmt.Errorf("device %s: %w", name, err)
		}
	}
	return e, nil
}

// ErrNone says that no file describes a device that was asked for.
var ErrNone = errors.New("no such device")

// Find returns the names of the devices that a request of RUN --device means (dockerfile.md §5.4): VENDOR/CLASS=NAME is that one,
// VENDOR/CLASS=* all of the kind, VENDOR/CLASS the first of them by name, and a word alone all that an annotation counts to this class.
// They are sorted. With none the error is ErrNone, and says which files could not be read.
func Find(dirs []string, request string) ([]string, error) {
	layers, damaged, err := read(dirs)
	if err != nil {
		return nil, err
	}
	kind, short, named := strings.Cut(request, "=")
	var names []string
	for _, d := range slices.Concat(layers...) {
		for _, dev := range d.Devices {
			switch {
			case !strings.Contains(kind, "/") && !named && kind != "" && (dev.Notes.Class == kind || d.Notes.Class == kind && dev.Notes.Class == ""):
			case d.Kind != kind || named && short != "*" && dev.Name != short:
				continue
			}
			names = append(names, d.Kind+"="+dev.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	switch {
	case len(names) == 0:
		err := fmt.Errorf("device %s: %w: no file in %s describes it", request, ErrNone, strings.Join(dirs, ", "))
		return nil, errors.Join(append([]error{err}, damaged...)...)
	case strings.Contains(kind, "/") && !named:
		return names[:1], nil
	}
	return names, nil
}

// read reads the files, those of each directory by themselves. damaged says why some could not be.
func read(dirs []string) (layers [][]*document, damaged []error, err error) {
	n := 0
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("looking for devices: %w", err)
		}
		var docs []*document
		for _, entry := range entries {
			if !slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(entry.Name())) {
				continue
			}
			if n++; n > maxFiles {
				return nil, nil, fmt.Errorf("looking for devices: more than %d files", maxFiles)
			}
			name := filepath.Join(dir, entry.Name())
			doc, err := load(name)
			if err != nil {
				damaged = append(damaged, fmt.Errorf("%s: %w", name, err))
				continue
			}
			docs = append(docs, doc)
		}
		layers = append(layers, docs)
	}
	return layers, damaged, nil
}

func load(name string) (*document, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("larger than %d bytes", maxSize)
	}
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) (*document, error) {
	var d document
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, err
	}
	if !regexp.MustCompile(`^v?[01]\.[0-9]+\.[0-9]+$`).MatchString(d.Version) {
		return nil, fmt.Errorf("cdiVersion %q is not supported: want 0.x or 1.x", d.Version)
	}
	if !validKind(d.Kind) {
		return nil, fmt.Errorf("invalid kind %q: want VENDOR/CLASS", d.Kind)
	}
	for _, dev := range d.Devices {
		if !validName(dev.Name) {
			return nil, fmt.Errorf("invalid name %q of a device", dev.Name)
		}
	}
	return &d, nil
}

// find finds a device in the last layer that has it. Two files of one layer that both describe it contradict each other.
func find(layers [][]*document, name string) (*document, *device, error) {
	kind, short, _ := strings.Cut(name, "=")
	for _, docs := range slices.Backward(layers) {
		var in *document
		var found *device
		for _, d := range docs {
			for i := range d.Devices {
				if d.Kind != kind || d.Devices[i].Name != short {
					continue
				}
				if found != nil {
					return nil, nil, fmt.Errorf("device %s: described twice in one directory", name)
				}
				in, found = d, &d.Devices[i]
			}
		}
		if found != nil {
			return in, found, nil
		}
	}
	return nil, nil, nil
}

// add adds what one part of a file asks for.
func (e *Edits) add(in edits) error {
	if in.IntelRDT != nil || in.NetDevices != nil {
		return errors.New("it asks for intelRdt or netDevices, which are not supported")
	}
	for _, kv := range in.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			return fmt.Errorf("env %q: want NAME=VALUE", kv)
		}
	}
	e.Env = append(e.Env, in.Env...)
	for _, n := range in.Nodes {
		host, access := n.HostPath, n.Permissions
		if host == "" {
			host = n.Path
		}
		if access == "" {
			access = "rwm"
		}
		if !path.IsAbs(host) || !path.IsAbs(n.Path) || strings.Contains(host+n.Path, ":") {
			return fmt.Errorf("device node %q: want absolute paths without colons", n.Path)
		}
		e.Devices = append(e.Devices, host+":"+n.Path+":"+access)
	}
	for _, m := range in.Mounts {
		if !path.IsAbs(m.ContainerPath) || m.Type != "tmpfs" && !path.IsAbs(m.HostPath) {
			return fmt.Errorf("mount of %q on %q: want absolute paths", m.HostPath, m.ContainerPath)
		}
		mount := specs.Mount{Destination: path.Clean(m.ContainerPath), Source: m.HostPath, Type: m.Type, Options: slices.Clone(m.Options)}
		switch m.Type {
		case "", "none", "bind":
			mount.Type = "bind"
			if !slices.Contains(m.Options, "bind") && !slices.Contains(m.Options, "rbind") {
				mount.Options = append(mount.Options, "rbind")
			}
		case "tmpfs":
			mount.Source = "tmpfs"
		default:
			return fmt.Errorf("mount on %s: type %q is not supported: want bind or tmpfs", m.ContainerPath, m.Type)
		}
		e.Mounts = append(e.Mounts, mount)
	}
	for _, h := range in.Hooks {
		if !slices.Contains(hooks.Stages(), h.Name) || !path.IsAbs(h.Path) {
			return fmt.Errorf("hook %q at %q: want an absolute path and %s", h.Path, h.Name, strings.Join(hooks.Stages(), ", "))
		}
		if e.Hooks == nil {
			e.Hooks = &specs.Hooks{}
		}
		hooks.Add(e.Hooks, h.Name, specs.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: h.Timeout})
	}
	e.Groups = append(e.Groups, in.Groups...)
	return nil
}

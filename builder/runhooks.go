package builder

//lint:file-ignore SA1019 stage prestart is superseded, and in use

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/cdi"
	"github.com/slipway-build/slipway/builder/internal/hooks"
	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/internal/userns"
)

// namedDevices is what the command needs for its devices that are known by names.
func (c *commanded) namedDevices() (cdi.Edits, error) {
	var names []string
	for _, d := range c.box.Devices {
		if cdi.Qualified(d) && !slices.Contains(names, d) {
			names = append(names, d)
		}
	}
	return cdi.Resolve(cdiDirs(c.conf, c.box.CDIConfigDir), names)
}

// cdiDirs are where files of devices are: those of containers.conf, else the usual ones, then another, if it is not empty.
func cdiDirs(conf *hostconf.Conf, more string) []string {
	dirs := slices.Clone([]string(conf.Engine.CDIDirs))
	if len(dirs) == 0 {
		dirs = cdi.Dirs()
	}
	if more != "" {
		dirs = append(dirs, more)
	}
	return dirs
}

// ErrNoDevice says that no file of the container device interface describes a device.
var ErrNoDevice = cdi.ErrNone

// FindDevices returns the names of the devices that a request means, which Sandbox.Devices takes: VENDOR/CLASS=NAME is that one,
// VENDOR/CLASS=* all of the kind, VENDOR/CLASS the first of them, and a word alone all that an annotation counts to this class. dir is
// looked through beside the host's directories, if it is not empty. The error is ErrNoDevice if there is none.
func (s *Store) FindDevices(request, dir string) ([]string, error) {
	conf, err := s.conf()
	if err != nil {
		return nil, err
	}
	return cdi.Find(cdiDirs(conf, dir), request)
}

// annotations are the command's: those of containers.conf. An image's are not among them, so that none chooses a hook for itself.
func (c *commanded) annotations() map[string]string {
	list := map[string]string{}
	for _, kv := range c.conf.Containers.Annotations {
		key, value, _ := strings.Cut(kv, "=")
		list[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return list
}

// hooks are those of the directories that were asked for, else of the host's, and those of devices. With isolation chroot there is no
// container in their sense: what was asked for is refused, and the host's do not run.
func (c *commanded) hooks(argv []string, devices *specs.Hooks) (*specs.Hooks, error) {
	dirs := c.box.HooksDirs
	asked := len(dirs) > 0
	if !asked {
		dirs = c.hostHooks()
	}
	if c.box.Isolation == IsolationChroot && (asked || devices != nil) {
		return nil, errors.New("hooks cannot run with --isolation chroot: use native or oci")
	}
	for _, dir := range c.box.HooksDirs {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("reading hooks: %w", err)
		}
	}
	list, err := hooks.Load(dirs)
	if err != nil {
		return nil, err
	}
	binds := func(m Mount) bool { return m.Type == "bind" && m.From == "" }
	found := hooks.For(list, hooks.Command{Program: argv[0], Annotations: c.annotations(),
		Binds: len(c.box.Volumes)+len(c.box.Mounts)+len(c.box.DefaultVolumes)+len(c.box.DefaultMounts) > 0 || slices.ContainsFunc(c.o.Mounts, binds)})
	if found != nil && c.box.Isolation == IsolationChroot {
		c.w.s.o.Log.Warn(fmt.Sprintf("hooks in %s do not run with isolation chroot", strings.Join(dirs, ", ")))
		return nil, nil
	}
	return joinHooks(found, devices), nil
}

// hostHooks are the directories of containers.conf, else the usual ones, which count for root only (cli.md §7).
func (c *commanded) hostHooks() []string {
	switch {
	case len(c.conf.Engine.HooksDirs) > 0:
		return c.conf.Engine.HooksDirs
	case userns.Current() == userns.Root:
		return []string{"/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"}
	}
	return nil
}

func joinHooks(a, b *specs.Hooks) *specs.Hooks {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &specs.Hooks{
		Prestart:        slices.Concat(a.Prestart, b.Prestart),
		CreateRuntime:   slices.Concat(a.CreateRuntime, b.CreateRuntime),
		CreateContainer: slices.Concat(a.CreateContainer, b.CreateContainer),
		StartContainer:  slices.Concat(a.StartContainer, b.StartContainer),
		Poststart:       slices.Concat(a.Poststart, b.Poststart),
		Poststop:        slices.Concat(a.Poststop, b.Poststop),
	}
}

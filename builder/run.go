package builder

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder/internal/cdi"
	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/builder/internal/network"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/native"
	"github.com/slipway-build/slipway/builder/internal/runner/oci"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
	"github.com/slipway-build/slipway/internal/userns"
)

// Run runs a command in the container (containers.md §8). A command that ends with a status that is not among the
// valid ones gives an *[ExitError]; whatever was made in the container only to mount on is gone afterwards.
func (w *Workspace) Run(ctx context.Context, argv []string, o RunOptions) (err error) {
	if len(argv) == 0 {
		return errors.New("command must be specified")
	}
	if err := runnable(); err != nil {
		return err
	}
	box, conf, err := w.sandbox(o)
	if err != nil {
		return err
	}
	runs, err := w.s.runDir("runs")
	if err != nil {
		return fmt.Errorf("preparing to run: %w", err)
	}
	dir, done, err := w.s.scratchIn(runs)
	if err != nil {
		return fmt.Errorf("preparing to run: %w", err)
	}
	defer func() { err = errors.Join(err, done()) }()
	var res runner.Result
	mounted, users := w.mounted, w.users
	if w.shifted != nil {
		mounted, users = w.mountedShifted, w.shifted
	}
	err = mounted(func(mountpoint string) error {
		root, err := rootfs.OpenMapped(mountpoint, w.s.own, users)
		if err != nil {
			return err
		}
		defer root.Close()
		c := &commanded{w: w, root: root, dir: dir, box: box, conf: conf, o: o}
		res, err = c.run(ctx, argv, mountpoint)
		return err
	})
	if err != nil {
		if ctx.Err() == nil && res.Code == 0 && res.Signal == 0 {
			return runError(fmt.Errorf("running %q: %w", argv[0], w.remedied(err)))
		}
		return err
	}
	return exitError(res, o.ValidExitCodes)
}

// sandbox is what a command gets: what o asks for over the workspace's, and the host's defaults below both.
func (w *Workspace) sandbox(o RunOptions) (box Sandbox, conf *hostconf.Conf, err error) {
	box = w.o.Sandbox.over(o.Sandbox)
	if w.defaults {
		if box, err = w.s.withDefaults(box); err != nil {
			return box, nil, err
		}
	}
	if conf, err = w.s.conf(); err != nil {
		return box, nil, err
	}
	box, err = box.settled(conf, w.join != "")
	if err == nil && w.s.o.CgroupManager == "systemd" && box.Isolation != IsolationOCI && box.Limits.grouped() {
		err = errors.New("cgroup manager systemd makes no cgroups for the built-in runner: use --cgroup-manager=cgroupfs")
	}
	return box, conf, err
}

// run runs the command in the mounted root file system, and removes what was made only to mount on.
func (c *commanded) run(ctx context.Context, argv []string, mountpoint string) (res runner.Result, err error) {
	if c.ids, err = c.w.runIDs(); err != nil {
		return res, err
	}
	defer func() {
		if cerr := c.close(); err == nil && res == (runner.Result{}) {
			err = cerr
		}
	}()
	s, err := c.spec(ctx, argv, mountpoint)
	if err != nil {
		return res, err
	}
	if c.box.Isolation == IsolationOCI {
		if err := c.startable(s); err != nil {
			return res, err
		}
	}
	if err := c.placeBelow(s); err != nil {
		return res, err
	}
	rootTree, err := c.reachable(s, mountpoint)
	if err != nil {
		return res, err
	}
	job := runner.Job{Spec: s, Root: rootTree, Files: c.mounts.files, Trees: c.mounts.trees, Secrets: c.mounts.env,
		ID: runner.ContainerID(c.dir), Dir: c.dir, NoPivot: c.box.NoPivot}
	job.Connect = c.connect(c.hostname(), job.ID)
	made, err := c.w.madeFor()
	if err != nil {
		return res, err
	}
	job.Made = made.add
	res, err = c.start(ctx, job)
	return res, errors.Join(c.uninterpreted(s, err), made.remove(c.root))
}

// runError gives a command that could not be run its status: 1 when it is the command's own fault, as the family has it,
// else 125 (cli.md §4).
func runError(err error) *ExitError {
	var own *runner.CommandError
	switch {
	case !errors.As(err, &own):
		return &ExitError{Code: 125, Err: err}
	case errors.Is(err, unix.ENOENT):
		return &ExitError{Code: 1, Shell: 127, Err: err}
	}
	return &ExitError{Code: 1, Shell: 126, Err: err}
}

// remedied adds what to do about a program that this machine cannot execute (decisions.md §3.13).
func (w *Workspace) remedied(err error) error {
	if !errors.Is(err, unix.ENOEXEC) {
		return err
	}
	host := HostPlatform()
	if arch := w.cfg.Architecture; arch != "" && arch != host.Arch {
		return fmt.Errorf("%w: it is for %s and this machine is %s: install an emulator for it (qemu-user-static and binfmt-support on Debian), or take the image for --platform %s/%s",
			err, arch, host.Arch, host.OS, host.Arch)
	}
	return fmt.Errorf("%w: it is neither a program for this machine (%s) nor a script whose first line (#!) names one", err, host.Arch)
}

func exitError(res runner.Result, valid []int) error {
	if res.Signal != 0 {
		return &ExitError{Code: 1, Shell: 128 + res.Signal, Err: fmt.Errorf("command was ended by signal %d (%s)", res.Signal, unix.SignalName(unix.Signal(res.Signal)))}
	}
	if len(valid) == 0 {
		valid = []int{0}
	}
	if slices.Contains(valid, res.Code) {
		return nil
	}
	if res.Code == 0 {
		return &ExitError{Code: 125, Err: errors.New("exit status 0 is not in the valid exit codes list")}
	}
	return &ExitError{Code: res.Code}
}

// runner chooses how to run.
func (c *commanded) runner() runner.Runner {
	s := c.w.s
	if c.box.Isolation == IsolationOCI {
		manager := first(s.o.CgroupManager, c.conf.Engine.CgroupManager)
		return oci.Runner{Command: c.box.Runtime, Flags: c.box.RuntimeFlags, Systemd: manager == "systemd", Asked: s.o.CgroupManager != "", Log: s.o.Log}
	}
	return native.Runner{Log: s.o.Log, Owners: oneID() && s.own != rootfs.Fail, Devices: s.own == rootfs.Record}
}

// commanded is a command on its way to a specification.
type commanded struct {
	w      *Workspace
	root   *rootfs.Root
	dir    string // private directory of the command
	box    Sandbox
	conf   *hostconf.Conf
	net    network.Choice
	o      RunOptions
	mounts mounting
	tty    *terminal  // nil for none
	ids    *idmap.IDs // of the command's own user namespace, nil for the caller's
}

// close ends what the command needed. The error says that its output was not passed on.
func (c *commanded) close() (err error) {
	if c.tty != nil {
		err = c.tty.close()
	}
	if cerr := c.mounts.close(); cerr != nil {
		c.w.s.o.Log.Warn("cleaning up after a command", "error", cerr)
	}
	return err
}

// start runs the job on the caller's streams, or on a terminal of its own.
func (c *commanded) start(ctx context.Context, job runner.Job) (runner.Result, error) {
	std := c.o.Stdio
	job.Stdin = std.In
	job.Stdout, job.Stderr = relayed(std.Out, std.Err, c.box.Isolation == IsolationOCI || c.mounts.user.UID != 0 || c.ids != nil)
	if c.ids != nil && c.tty == nil {
		done, err := c.ownPipes(&job)
		if err != nil {
			return runner.Result{}, err
		}
		defer done()
	}
	if c.tty != nil {
		if err := c.tty.connect(std); err != nil {
			return runner.Result{}, err
		}
		if size, err := unix.IoctlGetWinsize(int(c.tty.slave.Fd()), unix.TIOCGWINSZ); err == nil {
			job.Spec.Process.ConsoleSize = &specs.Box{Height: uint(size.Row), Width: uint(size.Col)}
		}
		job.Stdin, job.Stdout, job.Stderr = c.tty.slave, c.tty.slave, c.tty.slave
	}
	return c.runner().Run(ctx, job)
}

// terminal makes the terminal, which belongs to the command's user. The built-in runner's commands have it as their console; OCI
// runtimes put one of their own between.
func (c *commanded) terminal(user spec.User) (err error) {
	if !c.o.Stdio.Terminal {
		return nil
	}
	if c.tty, err = openTerminal(); err != nil {
		return err
	}
	uid, gid, err := c.ids.Outside(int(user.UID), int(user.GID))
	if err != nil {
		return err
	}
	_ = c.tty.slave.Chown(uid, gid) // with one id there is nobody else
	if c.box.Isolation == IsolationOCI {
		_, err := term.MakeRaw(int(c.tty.slave.Fd())) // it only passes on
		return err
	}
	f, err := os.OpenFile(c.tty.slave.Name(), unix.O_PATH, 0)
	if err != nil {
		return nil //nolint:nilerr // no console where another instance of devpts is mounted
	}
	return c.mounts.attach(Mount{Host: true, Source: c.tty.slave.Name(), Target: "/dev/console"}, f)
}

// spec makes the specification of a command.
func (c *commanded) spec(ctx context.Context, argv []string, mountpoint string) (*specs.Spec, error) {
	var err error
	if c.net, err = c.box.network(); err != nil {
		return nil, err
	}
	user, err := spec.LookupUser(c.root, first(c.o.User, c.w.cfg.Config.User, "0"))
	if err != nil {
		return nil, err
	}
	in := spec.Input{Rootfs: mountpoint, Argv: argv, User: user, Hostname: c.hostname(), Dir: path.Join("/", first(c.o.Dir, c.w.cfg.Config.WorkingDir))}
	if in.Capabilities, err = c.capabilities(); err != nil {
		return nil, err
	}
	named, err := c.devices()
	if err != nil {
		return nil, err
	}
	files, err := c.files(in.Hostname)
	if err != nil {
		return nil, err
	}
	shared, err := c.w.confMounts(c.dir)
	if err != nil {
		return nil, err
	}
	if err := c.mount(ctx, user, in.Dir); err != nil {
		return nil, err
	}
	in.Mounts = overriding(overriding(files, shared), overriding(named.Mounts, c.mounts.list))
	if in.Joined, err = c.joined(); err != nil {
		return nil, err
	}
	if in.Hooks, err = c.hooks(argv, named.Hooks); err != nil {
		return nil, err
	}
	in.Env, in.DeviceGroups = append(c.environment(), named.Env...), named.Groups
	if err := c.confine(&in); err != nil {
		return nil, err
	}
	return spec.Generate(in)
}

// devices settles which devices the command gets, and returns what those with a qualified name bring along.
func (c *commanded) devices() (cdi.Edits, error) {
	if c.box.Security.Insecure {
		c.box.Devices = append(hostDevices(), c.box.Devices...)
	}
	named, err := c.namedDevices()
	if err != nil {
		return named, err
	}
	c.box.Devices = append(slices.DeleteFunc(slices.Clone(c.box.Devices), cdi.Qualified), named.Devices...)
	return named, nil
}

// mount prepares the command's mounts, and its terminal, which may be one of them.
func (c *commanded) mount(ctx context.Context, user spec.User, dir string) error {
	_, label := c.labels()
	c.mounts = mounting{w: c.w, root: c.root, label: label, o: c.o, user: user, dir: dir, job: c.dir, caches: map[string]string{}, ids: c.ids, shift: newShifter(c.ids), detached: c.box.Isolation == IsolationOCI}
	c.mounts.undo = append(c.mounts.undo, c.mounts.shift.close)
	if err := c.mounts.mount(ctx, c.box); err != nil {
		return err
	}
	return c.terminal(user)
}

// confine adds what keeps the command to itself: namespaces, labels, limits.
func (c *commanded) confine(in *spec.Input) error {
	caller, err := os.Getgroups()
	if err != nil {
		return err
	}
	box, n := c.box, c.box.Namespaces
	in.SELinux, in.AppArmor, in.AppArmorLoaded = selinux.GetEnabled(), apparmor(), apparmorLoaded
	in.ProcessLabel, in.MountLabel = c.labels()
	in.Terminal, in.GroupAdd, in.CallerGroups = c.tty != nil, box.GroupAdd, groupIDs(caller)
	in.Warn = func(text string) { c.w.s.o.Log.Warn(text) }
	in.Resources, in.CgroupParent = box.Limits.resources(), cgroupPath(box.Limits.CgroupParent, c.dir)
	in.HostNetwork, in.HostPID, in.HostIPC = c.net.Kind == network.Host, n.PID == "host", n.IPC == "host"
	in.HostUTS, in.HostCgroup = n.UTS == "host", n.Cgroup == "host"
	if in.HostIPC {
		in.Missing = absent(spec.IPCDirs())
	}
	in.SecurityOpts, in.Insecure, in.Ulimits, in.HardLimit = box.Security.Options, box.Security.Insecure, box.Limits.Ulimits, hardLimit
	in.ShmSize, in.Devices, in.OneID = box.Limits.ShmSize, box.Devices, oneID()
	in.Sysctls, in.Annotations = c.conf.Containers.Sysctls, c.annotations()
	in.UserNamespace = userns.Current() != userns.Root || c.ids != nil
	in.ForeignNetwork = c.ids != nil && box.Isolation == IsolationOCI && c.connect("", "") != nil
	in.UIDs, in.GIDs = mappings(c.ids, false), mappings(c.ids, true)
	return nil
}

func (c *commanded) capabilities() ([]string, error) {
	s := c.box.Security
	if s.Insecure {
		s.CapAdd, s.CapDrop = []string{"ALL"}, nil
	}
	list, err := spec.Capabilities(s.Base, s.CapAdd, s.CapDrop)
	if c.ids == nil { // in a user namespace of its own there are all
		list = slices.DeleteFunc(list, withheld)
	}
	return list, err
}

// withheld tells whether this process cannot give a capability away: OCI runtimes fail at one, and nothing can be had of it.
func withheld(name string) bool {
	mask, err := spec.CapMask([]string{name})
	if err != nil {
		return false
	}
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(bits.TrailingZeros64(mask)), 0, 0, 0)
	return err != nil || has == 0
}

// hostname is what the command's host is called.
func (c *commanded) hostname() string {
	id := c.w.about.id
	name := ""
	if c.conf.Containers.NameAsHostname {
		name = hostnameOf(c.w.about.name)
	}
	return first(c.o.Hostname, c.w.o.Hostname, c.w.cfg.Config.Hostname, name, id[:min(12, len(id))])
}

// hostnameOf is a container's name as a host's (exact.md on containers.md §8.3): what begins with a letter or digit, and has nothing but
// these, dots and dashes.
func hostnameOf(name string) string {
	alphanumeric := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
	name = strings.TrimLeftFunc(name, func(r rune) bool { return !alphanumeric(r) })
	name = strings.Map(func(r rune) rune {
		if alphanumeric(r) || r == '.' || r == '-' {
			return r
		}
		return -1
	}, name)
	return name[:min(len(name), 64)]
}

// joined pins the namespaces to join and returns what stands for them.
func (c *commanded) joined() (map[specs.LinuxNamespaceType]string, error) {
	n := c.box.Namespaces
	list := map[specs.LinuxNamespaceType]string{}
	users, err := c.joinedUsers()
	if err != nil {
		return nil, err
	}
	for kind, v := range map[specs.LinuxNamespaceType]Namespace{specs.CgroupNamespace: n.Cgroup, specs.IPCNamespace: n.IPC, specs.PIDNamespace: n.PID,
		specs.UTSNamespace: n.UTS, specs.NetworkNamespace: Namespace(c.net.Path), specs.UserNamespace: Namespace(users)} {
		if !v.joins() {
			continue
		}
		f, err := openNamespace(strings.TrimPrefix(string(v), "ns:"), kind)
		if err != nil {
			return nil, fmt.Errorf("joining a %s namespace: %w", kind, err)
		}
		if list[kind], err = c.mounts.tree(Mount{}, f); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// openNamespace opens a namespace of that kind.
func openNamespace(name string, kind specs.LinuxNamespaceType) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be anything, a FIFO too
	if err != nil {
		return nil, err
	}
	var st unix.Statfs_t
	err = unix.Fstatfs(int(f.Fd()), &st)
	if err == nil && st.Type != unix.NSFS_MAGIC {
		err = fmt.Errorf("%s is not a namespace", name)
	}
	if err == nil {
		flag := map[specs.LinuxNamespaceType]int{specs.CgroupNamespace: unix.CLONE_NEWCGROUP, specs.IPCNamespace: unix.CLONE_NEWIPC, specs.PIDNamespace: unix.CLONE_NEWPID,
			specs.UTSNamespace: unix.CLONE_NEWUTS, specs.NetworkNamespace: unix.CLONE_NEWNET, specs.UserNamespace: unix.CLONE_NEWUSER}[kind]
		is, terr := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
		if err = terr; err == nil && is != flag {
			err = fmt.Errorf("%s is a namespace of another kind", name)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func groupIDs(list []int) []uint32 {
	var ids []uint32
	for _, g := range list {
		ids = append(ids, uint32(g))
	}
	return ids
}

// cgroupPath is a cgroup of the command's own below the parent that was asked for.
func cgroupPath(parent, dir string) string {
	if parent == "" {
		return ""
	}
	return path.Join("/", parent, runner.ContainerID(dir))
}

// resources are the limits that need a cgroup.
func (l Limits) resources() spec.Resources {
	return spec.Resources{CPUPeriod: l.CPUPeriod, CPUQuota: l.CPUQuota, CPUShares: l.CPUShares, CPUSetCPUs: l.CPUSetCPUs, CPUSetMems: l.CPUSetMems,
		Memory: l.Memory, MemorySwap: l.MemorySwap}
}

// grouped tells whether they need a cgroup.
func (l Limits) grouped() bool { return l.CgroupParent != "" || l.resources() != (spec.Resources{}) }

// environment is in rising priority; secrets come last, as nothing else is meant by naming them.
func (c *commanded) environment() []string {
	var env []string
	if !c.box.Hosts.NoHTTPProxy {
		env = c.w.s.proxies()
	}
	if c.mounts.socket != "" {
		env = append(env, "SSH_AUTH_SOCK="+c.mounts.socket)
	}
	env = append(append(append(env, c.box.Env...), c.w.cfg.Config.Env...), c.o.Env...)
	return append(env, c.mounts.env...)
}

// overriding joins generated mounts with those asked for, which win where both want the same place.
func overriding(generated, asked []specs.Mount) []specs.Mount {
	list := slices.DeleteFunc(generated, func(g specs.Mount) bool {
		return slices.ContainsFunc(asked, func(a specs.Mount) bool { return a.Destination == g.Destination })
	})
	return append(list, asked...)
}

// hardLimit is what this process may raise a limit to.
func hardLimit(resource int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil {
		return unix.RLIM_INFINITY
	}
	return l.Max
}

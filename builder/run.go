package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/mounts"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/native"
	"github.com/slipway-build/slipway/builder/internal/runner/oci"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// Run runs a command in the container (containers.md §8). A command that ends with a status that is not among the
// valid ones gives an *[ExitError]; whatever was made in the container only to mount on is gone afterwards.
func (w *Workspace) Run(ctx context.Context, argv []string, o RunOptions) error {
	if len(argv) == 0 {
		return errors.New("command must be specified")
	}
	box := w.o.Sandbox.over(o.Sandbox)
	dir, err := w.s.runDir("runs")
	if err != nil {
		return fmt.Errorf("preparing to run: %w", err)
	}
	if dir, err = os.MkdirTemp(dir, "run-"); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var res runner.Result
	err = w.mounted(func(mountpoint string) error {
		root, err := rootfs.Open(mountpoint, w.s.own)
		if err != nil {
			return err
		}
		defer root.Close()
		s, err := w.spec(root, dir, mountpoint, argv, box, o)
		if err != nil {
			return err
		}
		job := runner.Job{Spec: s, ID: "slipway-" + path.Base(dir), Dir: dir, Stdin: o.Stdio.In, Stdout: o.Stdio.Out, Stderr: o.Stdio.Err}
		res, err = w.s.runner(box).Run(ctx, job)
		return errors.Join(err, removeStubs(root, res))
	})
	if err != nil {
		if ctx.Err() == nil && res.Code == 0 && res.Signal == 0 {
			return &ExitError{Code: runError(err), Err: fmt.Errorf("running %q: %w", argv[0], err)}
		}
		return err
	}
	return exitError(res, o.ValidExitCodes)
}

// runError is the status for a command that could not be run: 1 when it is the command's own fault, as
// the family has it, else 125 (cli.md §4).
func runError(err error) int {
	text := err.Error()
	if strings.Contains(text, "not found in $PATH") || strings.Contains(text, "no such file or directory") || strings.Contains(text, "permission denied") {
		return 1
	}
	return 125
}

func exitError(res runner.Result, valid []int) error {
	if res.Signal != 0 {
		return &ExitError{Code: 1, Err: fmt.Errorf("command was ended by signal %d (%s)", res.Signal, unix.SignalName(unix.Signal(res.Signal)))}
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
func (s *Store) runner(box Sandbox) runner.Runner {
	if box.Isolation == IsolationOCI {
		return oci.Runner{Command: box.Runtime, Flags: box.RuntimeFlags, Log: s.o.Log}
	}
	return native.Runner{Log: s.o.Log, Owners: oneID() && s.own != rootfs.Fail}
}

// spec makes the specification of a command.
func (w *Workspace) spec(root *rootfs.Root, dir, mountpoint string, argv []string, box Sandbox, o RunOptions) (*specs.Spec, error) {
	hostNet, err := box.network()
	if err != nil {
		return nil, err
	}
	user, err := spec.LookupUser(root, first(o.User, w.cfg.Config.User, "0"))
	if err != nil {
		return nil, err
	}
	caps, err := spec.Capabilities(box.Security.Base, box.Security.CapAdd, box.Security.CapDrop)
	if err != nil {
		return nil, err
	}
	hostname := first(o.Hostname, w.o.Hostname, w.cfg.Config.Hostname, w.about.id[:min(12, len(w.about.id))])
	files, err := w.files(dir, hostname, box, hostNet)
	if err != nil {
		return nil, err
	}
	volumes, err := mounts.Parse(box.Volumes, o.Mounts)
	if err != nil {
		return nil, err
	}
	var env []string
	if !box.Hosts.NoHTTPProxy {
		env = w.s.proxies()
	}
	env = append(append(env, w.cfg.Config.Env...), o.Env...)
	return spec.Generate(spec.Input{
		Rootfs: mountpoint, Argv: argv, Env: env, Dir: path.Join("/", first(o.Dir, w.cfg.Config.WorkingDir)), User: user, Hostname: hostname,
		HostNetwork: hostNet, HostPID: box.Namespaces.PID == "host", HostIPC: box.Namespaces.IPC == "host", HostUTS: box.Namespaces.UTS == "host",
		Capabilities: caps, SecurityOpts: box.Security.Options, Ulimits: box.Limits.Ulimits, HardLimit: hardLimit,
		ShmSize: box.Limits.ShmSize, Mounts: mounts.Merge(files, volumes), Devices: box.Devices, OneID: oneID(),
	})
}

// hardLimit is what this process may raise a limit to.
func hardLimit(resource int) uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(resource, &l) != nil {
		return unix.RLIM_INFINITY
	}
	return l.Max
}

// removeStubs takes away what the run made to mount on, if it is still empty, through descriptors below the root and
// never through links that the command may have put there (CVE-2024-23652), and gives directories their times back.
func removeStubs(root *rootfs.Root, res runner.Result) error {
	for _, s := range slices.Backward(res.Created) {
		if err := removeStub(root, s.Path, s.Dir); err != nil {
			return fmt.Errorf("removing mount point %s: %w", s.Path, err)
		}
	}
	for _, t := range slices.Backward(res.Times) {
		d, err := root.Dir(t.Path)
		if err != nil {
			continue // the command removed it
		}
		err = d.Utimes(".", t.Mtime)
		d.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func removeStub(root *rootfs.Root, name string, dir bool) error {
	parent, err := root.Dir(path.Dir(name))
	if err != nil {
		return nil //nolint:nilerr // the command removed it
	}
	defer parent.Close()
	if dir {
		err = parent.Rmdir(path.Base(name))
	} else if i, lerr := parent.Lstat(path.Base(name)); lerr == nil && i.IsRegular() && i.Size == 0 {
		err = parent.Unlink(path.Base(name))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}

// Package oci runs commands through an OCI runtime, crun or runc. The runtime is a program of the
// host; what it is told is the same specification that the built-in runner takes. It is started by a process of ours (see
// runchild.RuntimeRequest) in pid and mount namespaces of their own: its bundle is in memory, and nothing of the
// container outlives that process.
package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/cgroup"
	"github.com/slipway-build/slipway/builder/internal/runner/native/seccomp"
	"github.com/slipway-build/slipway/internal/runchild"
)

// Runner runs jobs with a runtime. Command is its name or path; empty takes crun, else runc. Flags are
// global flags without the leading dashes.
type Runner struct {
	Command string
	Flags   []string
	// Systemd says that cgroups are to be made by systemd, which is refused where one would be made. Asked says that the caller wants
	// that, and not the host by default.
	Systemd, Asked bool
	Log            *slog.Logger
}

// Run runs a job; see [runner.Runner].
func (r Runner) Run(ctx context.Context, j runner.Job) (runner.Result, error) {
	command, err := r.command()
	if err != nil {
		return runner.Result{}, err
	}
	limited := j.Spec.Linux.Resources != nil || j.Spec.Linux.CgroupsPath != ""
	if err := r.mayLimit(command, j.Spec.Linux, limited); err != nil {
		return runner.Result{}, err
	}
	shared, err := sharesPID(j.Spec)
	if err != nil {
		return runner.Result{}, err
	}
	points, err := runner.MountPoints(j)
	j.Made(points.Stubs)
	var res runner.Result
	if err != nil {
		return res, err
	}
	bundle, err := stageFor(j)
	if err != nil {
		return res, err
	}
	call := append([]string{command}, r.global(command, j, limited)...)
	req := &runchild.RuntimeRequest{Stage: bundle, HideUnified: hybrid(command), SharedPID: shared, Terminal: j.Spec.Process.Terminal}
	req.Console = req.Terminal && filepath.Base(command) == "crun" // runc gives its terminal away only to whom it leaves the container
	req.Argv = slices.Concat(call, []string{"run", "--bundle", bundle, "--pid-file", req.PIDFile()}, options(req, j), []string{j.ID})
	r.Command = command
	if err := r.describe(req, j); err != nil {
		return res, err
	}
	if filepath.Base(command) != "crun" || limited {
		if err := cgroup.Note(j.Dir); err != nil {
			return res, err
		}
	}
	r.Log.Debug("starting OCI runtime", "command", command, "bundle", bundle)
	defer keepOwners(j.Stdin, j.Stdout, j.Stderr)()
	res.Code, err = start(ctx, req, j)
	if err != nil || ctx.Err() != nil {
		del := &runchild.RuntimeRequest{HideUnified: req.HideUnified, Argv: append(call, "delete", "--force", j.ID)}
		if _, derr := start(context.WithoutCancel(ctx), del, runner.Job{}); derr != nil {
			r.Log.Debug("deleting the container of the OCI runtime", "error", derr) // usually gone already
		}
	}
	if err != nil || res.Code != 0 {
		if err := cgroup.RemoveLeft(j.Dir, j.ID); err != nil {
			r.Log.Debug("removing the cgroups of the OCI runtime", "error", err)
		}
	}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	return res, err
}

// mayLimit tells why a cgroup that is asked for cannot be had.
func (r Runner) mayLimit(command string, l *specs.Linux, limited bool) error {
	if r.Systemd && (limited || r.Asked && filepath.Base(command) != "crun") {
		// It would be told the process's number of the wrong namespace, and move another process.
		return fmt.Errorf("cgroup manager systemd cannot be asked to limit what %s starts in a namespace of its own: use --cgroup-manager=cgroupfs", filepath.Base(command))
	}
	if !limited {
		return nil
	}
	return cgroup.Limitable(cgroup.Root, l)
}

// sharesPID tells whether a container has the PID namespace of its caller. A runtime that joined another one could not find what the container
// leaves there.
func sharesPID(s *specs.Spec) (bool, error) {
	i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
	if i >= 0 && s.Linux.Namespaces[i].Path != "" {
		return false, errors.New("a PID namespace that exists is joined by the built-in runner only: use --isolation=native")
	}
	return i < 0, nil
}

// stageFor is the empty directory where the runtime finds its bundle. What has a user namespace of its own cannot walk to where only the
// host's root may: it is given one that everybody may search, which is covered for the runtime alone.
func stageFor(j runner.Job) (string, error) {
	if j.Root == 0 {
		bundle := filepath.Join(j.Dir, "bundle")
		return bundle, os.Mkdir(bundle, 0o700)
	}
	places := []string{"/mnt", "/media", "/srv", "/opt", "/home"}
	for _, dir := range places {
		var st unix.Stat_t
		if unix.Lstat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return dir, nil
		}
	}
	return "", fmt.Errorf("isolation oci with a user namespace needs one of the directories %s: make one, or use the built-in isolation", strings.Join(places, " "))
}

// options are flags of the runtime's command that not every job needs.
func options(req *runchild.RuntimeRequest, j runner.Job) (list []string) {
	if j.NoPivot {
		list = append(list, "--no-pivot")
	}
	if req.Console {
		list = append(list, "--console-socket", req.ConsoleSocket())
	}
	return list
}

// global are the runtime's flags before its command.
func (r Runner) global(command string, j runner.Job, limited bool) []string {
	list := []string{"--root", filepath.Join(j.Dir, "state")}
	if filepath.Base(command) == "crun" && !limited {
		list = append(list, "--cgroup-manager=disabled") // nothing is limited: no cgroup is needed
	}
	for _, f := range r.Flags {
		list = append(list, "--"+strings.TrimLeft(f, "-"))
	}
	return list
}

// start starts a runtime and waits for it.
func start(ctx context.Context, req *runchild.RuntimeRequest, j runner.Job) (int, error) {
	runtime.LockOSThread() // as the parent-death signal belongs to the thread
	defer runtime.UnlockOSThread()
	rr, rw, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer rr.Close()
	pr, pw, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, rw.Close())
	}
	defer pr.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{runchild.RuntimeName}, Stdout: output(j.Stdout), Stderr: output(j.Stderr), ExtraFiles: append([]*os.File{rr, pw}, j.Trees...),
		Env:         []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL},
		WaitDelay:   time.Second,
	}
	kill := func() { _ = cmd.Process.Kill() }
	if req.SharedPID { // it has more to end than itself: it does when we are gone
		cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWPID
		cmd.SysProcAttr.Pdeathsig = 0
		kill = func() { _ = rw.Close() }
	}
	if j.Connect != nil { // the container shares the runtime's network
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
		req.Loopback = true
	}
	in, err := input(j.Stdin)
	if err != nil {
		return 0, errors.Join(err, rw.Close(), pw.Close())
	}
	cmd.Stdin = in
	err = cmd.Start()
	rr.Close()
	pw.Close()
	if in != j.Stdin {
		in.Close()
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("starting the OCI runtime's namespaces: %w", err), rw.Close())
	}
	stop := context.AfterFunc(ctx, kill)
	defer stop()
	disconnect, err := j.Connected(ctx, cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return 0, errors.Join(err, rw.Close(), ended(cmd.Wait()))
	}
	code, err := finish(cmd, req, rw, pr)
	return code, errors.Join(err, disconnect())
}

// ended is an error of waiting for a process, unless it only says that the process was not successful.
func ended(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	return err
}

// finish sends the request and waits.
func finish(cmd *exec.Cmd, req *runchild.RuntimeRequest, w, r *os.File) (int, error) {
	err := json.NewEncoder(w).Encode(req)
	if req.SharedPID && err == nil {
		defer w.Close()
	} else {
		w.Close()
	}
	var failed runchild.Report
	if derr := json.NewDecoder(r).Decode(&failed); derr == nil && failed.Error != "" {
		err = errors.New(failed.Error)
	}
	werr := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err != nil:
		return 0, err
	case errors.As(werr, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	case errors.Is(werr, exec.ErrWaitDelay):
		return cmd.ProcessState.ExitCode(), nil
	}
	return 0, werr
}

func (r Runner) command() (string, error) {
	if r.Command != "" {
		p, err := exec.LookPath(r.Command)
		if err != nil {
			return "", fmt.Errorf("OCI runtime: %w", err)
		}
		return filepath.Abs(p)
	}
	for _, name := range []string{"crun", "runc"} {
		if p, err := exec.LookPath(name); err == nil {
			return p, nil
		}
	}
	return "", errors.New("isolation oci needs crun or runc: install one, or use the built-in isolation")
}

// hybrid tells whether the runtime is crun on a host with both cgroup hierarchies, which it refuses.
func hybrid(command string) bool {
	_, err := os.Stat("/sys/fs/cgroup/unified")
	return filepath.Base(command) == "crun" && err == nil
}

// bpfData is where crun looks for a compiled filter. It compiles the profile, of which one is in the specification as well, if it knows of no such
// place.
const bpfData = "run.oci.seccomp_bpf_data"

// compiled are the annotations with the filter compiled for crun, which takes more time for it than for all else.
func compiled(command string, s *specs.Spec) map[string]string {
	p := s.Linux.Seccomp
	if filepath.Base(command) != "crun" || p == nil || p.ListenerPath != "" || len(p.Flags) > 0 {
		return s.Annotations
	}
	program, err := seccomp.Compile(p, runtime.GOARCH)
	if err != nil {
		return s.Annotations // it says what is wrong, or can do what we cannot
	}
	list := maps.Clone(s.Annotations)
	if list == nil {
		list = map[string]string{}
	}
	list[bpfData] = base64.StdEncoding.EncodeToString(program)
	return list
}

// describe writes the specification as a runtime wants it: devices bound, pinned sources and files at their places on the stage.
func (r Runner) describe(req *runchild.RuntimeRequest, j runner.Job) (err error) {
	c := *j.Spec
	linux := *j.Spec.Linux
	linux.Devices = nil
	if j.Connect != nil { // the runtime's network is not one that it makes
		linux.Sysctl, req.Sysctls = map[string]string{}, map[string]string{}
		for key, value := range j.Spec.Linux.Sysctl {
			if strings.HasPrefix(key, "net.") {
				req.Sysctls[key] = value
			} else {
				linux.Sysctl[key] = value
			}
		}
	}
	linux.Namespaces = stagedNamespaces(req, j)
	c.Linux = &linux
	if j.Root > 0 {
		c.Root = &specs.Root{Path: req.StagedTree(j.Root - 1)}
	}
	req.Trees, req.MountLabel = len(j.Trees), linux.MountLabel
	c.Mounts = stagedMounts(req, j.Spec.Mounts)
	for _, d := range j.Spec.Linux.Devices {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: d.Path, Type: "bind", Source: d.Path, Options: []string{"bind"}})
	}
	c.Annotations = compiled(r.Command, j.Spec)
	req.Files = slices.Clone(j.Files)
	for i, f := range j.Files {
		req.Files[i].UID, req.Files[i].GID = uint32(runner.OnHost(linux.UIDMappings, f.UID)), uint32(runner.OnHost(linux.GIDMappings, f.GID))
		options := []string{"bind", "rprivate", "ro", "nosuid", "nodev"}
		if f.Mode&0o111 == 0 {
			options = append(options, "noexec")
		}
		c.Mounts = append(c.Mounts, specs.Mount{Destination: f.Target, Type: "bind", Source: req.StagedFile(i), Options: options})
	}
	req.Config, err = json.Marshal(&c)
	return err
}

// stagedNamespaces are a job's namespaces; those that exist are joined at their places on the stage.
func stagedNamespaces(req *runchild.RuntimeRequest, j runner.Job) (list []specs.LinuxNamespace) {
	for _, ns := range j.Spec.Linux.Namespaces {
		if ns.Type == specs.NetworkNamespace && j.Connect != nil {
			continue
		}
		if i, ok := runner.TreeIndex(ns.Path); ok {
			ns.Path = req.StagedTree(i)
		}
		list = append(list, ns)
	}
	return list
}

// stagedMounts are mounts whose pinned sources are at their places on the stage.
func stagedMounts(req *runchild.RuntimeRequest, mounts []specs.Mount) (list []specs.Mount) {
	for _, m := range mounts {
		if i, ok := runner.TreeIndex(m.Source); ok {
			m.Source = req.StagedTree(i)
		}
		m.Options = slices.Clone(m.Options)
		for i, o := range m.Options {
			key, p, _ := strings.Cut(o, "=")
			if k, ok := runner.TreeIndex(p); ok {
				m.Options[i] = key + "=" + req.StagedTree(k)
			}
		}
		list = append(list, m)
	}
	return list
}

// Package native is the built-in runner: the namespaces, capabilities, seccomp filter, masks and limits that an
// OCI runtime gives, from one re-executed child, with nothing to install. It honours no cgroup limits: a
// specification that has some is refused. The child's side is package runchild.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/internal/runchild"
)

// Runner is the built-in runner.
type Runner struct {
	Log *slog.Logger
	// Owners makes the command see and set owners that this process cannot set (package owners).
	Owners bool
	// Devices says that devices which the command makes may be records, which whoever makes the layer understands.
	Devices bool
}

// Run runs a job; see [runner.Runner].
func (r Runner) Run(ctx context.Context, j runner.Job) (runner.Result, error) {
	req, at, err := request(j.Spec)
	if err != nil {
		return runner.Result{}, err
	}
	req.Files, req.Stage, req.FirstTree, req.NoPivot = j.Files, j.Dir, runchild.FirstTree, j.NoPivot
	req.RootTree = j.Root
	h := hooking{spec: j.Spec.Hooks, state: runchild.State{Version: j.Spec.Version, ID: j.ID, Bundle: j.Dir, Annotations: j.Spec.Annotations}, stop: ctx.Done(), log: r.Log}
	if err := h.prepare(req, j); err != nil {
		return runner.Result{}, err
	}
	if j.Root > 0 { // process 1 could not make them where directories are the host's
		points, err := runner.MountPoints(j)
		j.Made(points.Stubs)
		if err != nil {
			return runner.Result{}, err
		}
	}
	// The parent-death signal is tied to the thread that starts the child, so that thread must last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	in, out, err := pipes()
	if err != nil {
		return runner.Result{}, err
	}
	defer in.close()
	defer out.close()
	sup, err := supervise(r.Owners, r.Devices, req)
	if err != nil {
		return runner.Result{}, err
	}
	defer sup.close()
	req.FirstTree += len(sup.files())
	self, err := runner.Self(at.flags&unix.CLONE_NEWUSER != 0)
	if err != nil {
		return runner.Result{}, err
	}
	defer self.Close()
	cmd := processOne(j, runner.Path(self), at.flags, slices.Concat([]*os.File{in.r, out.w}, sup.files(), j.Trees))
	if req.SharedPID { // it has more to end than itself: it does when we are gone
		cmd.SysProcAttr.Pdeathsig = 0
	}
	release, err := start(cmd, at.joins, j.Trees)
	defer release()
	if err != nil {
		return runner.Result{}, err
	}
	in.r.Close()
	out.w.Close()
	r.Log.Debug("started process", "name", runchild.Name, "pid", cmd.Process.Pid)
	kill := func() { _ = cmd.Process.Kill() }
	if req.SharedPID {
		kill = func() { _ = in.w.Close() }
	}
	stop := context.AfterFunc(ctx, kill)
	defer stop()
	begun := time.Now() //nolint:forbidigo // a duration for the log
	disconnect, err := j.Connected(ctx, cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return runner.Result{}, err
	}
	sup.start(cmd.Process.Pid, r.Log)
	t := talk{w: in.w, dec: json.NewDecoder(out.r), pid: cmd.Process.Pid, hooks: h, made: j.Made}
	res, err := t.hold(req)
	if werr := cmd.Wait(); werr != nil && err == nil && !errors.Is(werr, exec.ErrWaitDelay) {
		err = fmt.Errorf("running the command: %w", werr)
	}
	err = errors.Join(err, sup.wait(), disconnect())
	h.stopped()
	r.Log.Debug("process ended", "name", runchild.Name, "pid", cmd.Process.Pid, "after", time.Since(begun))
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	return res, err
}

// processOne is our own program in the new namespaces, with files as its descriptors from 3 on.
func processOne(j runner.Job, self string, flags uintptr, files []*os.File) *exec.Cmd {
	// What our caller left open must not even reach process 1, where a debugger in the container could pick it up. Where a
	// filter refuses the call, process 1 still keeps it from the command.
	_ = unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	cmd := &exec.Cmd{
		Path: self, Args: []string{runchild.Name}, Env: []string{}, Stdout: j.Stdout, Stderr: j.Stderr, ExtraFiles: files,
		// A session of its own has no controlling terminal: nothing in it can type into the caller's shell (TIOCSTI).
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL, Setsid: true},
		WaitDelay:   time.Second,
	}
	owned(cmd.SysProcAttr, j.Spec.Linux)
	if j.Stdin != nil {
		cmd.Stdin = j.Stdin
	}
	return cmd
}

// owned makes the process root of its user namespace, if it gets one.
func owned(attr *syscall.SysProcAttr, l *specs.Linux) {
	if attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return
	}
	for _, m := range l.UIDMappings {
		attr.UidMappings = append(attr.UidMappings, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	for _, m := range l.GIDMappings {
		attr.GidMappings = append(attr.GidMappings, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	attr.GidMappingsEnableSetgroups = true
	attr.Credential = &syscall.Credential{} // its root and nothing else
}

// A talk is the conversation with process 1.
type talk struct {
	w     io.WriteCloser
	dec   *json.Decoder
	pid   int
	hooks hooking
	made  func(runner.Stubs)
}

// hold sends the request and reads the reports.
func (t talk) hold(req *runchild.Request) (runner.Result, error) {
	defer t.w.Close()
	var res runner.Result
	if err := json.NewEncoder(t.w).Encode(req); err != nil {
		return res, fmt.Errorf("telling process 1 what to do: %w", err)
	}
	var ready, end runchild.Report
	err := t.dec.Decode(&ready)
	if err == nil && ready.Mounted {
		hookErr := t.hooks.created(t.pid)
		if hookErr == nil {
			_, hookErr = t.w.Write([]byte{1})
		}
		if hookErr != nil {
			t.w.Close() // process 1 ends without the byte, and says what it has made
		}
		ready = runchild.Report{}
		if err = t.dec.Decode(&ready); hookErr != nil {
			t.made(ready.Stubs)
			return res, hookErr
		}
	}
	if err != nil {
		return res, fmt.Errorf("process 1 ended early: %w", err)
	}
	if len(ready.Missed) > 0 {
		t.hooks.log.Debug("sysctls that cannot be set here", "names", ready.Missed)
	}
	t.made(ready.Stubs)
	if ready.Command {
		return res, &runner.CommandError{Text: ready.Error, Errno: syscall.Errno(ready.Errno)}
	}
	if ready.Error != "" {
		return res, errors.New(ready.Error)
	}
	t.hooks.started(t.pid)
	if err := t.dec.Decode(&end); err != nil {
		return res, fmt.Errorf("process 1 was killed: %w", err)
	}
	res.Code, res.Signal = end.Exit, end.Signal
	if end.Error != "" {
		return res, errors.New(end.Error)
	}
	return res, nil
}

type pipe struct{ r, w *os.File }

func (p pipe) close() { p.r.Close(); p.w.Close() }

func pipes() (a, b pipe, err error) {
	if a.r, a.w, err = os.Pipe(); err != nil {
		return a, b, err
	}
	if b.r, b.w, err = os.Pipe(); err != nil {
		a.close()
	}
	return a, b, err
}

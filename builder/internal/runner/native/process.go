package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/internal/runchild"
)

// A process is process 1 of a command. Whoever starts it calls close, also after an error.
type process struct {
	cmd     *exec.Cmd
	in, out pipe // what it reads, and what it writes
	sup     *supervision
	shared  bool     // its PID namespace is not its own
	undo    []func() // in reverse order
}

// start starts it; it waits for its request then. req learns which descriptors it has.
func (p *process) start(r Runner, req *runchild.Request, at places, j runner.Job) (err error) {
	if p.in, p.out, err = pipes(); err != nil {
		return err
	}
	p.undo = append(p.undo, p.in.close, p.out.close)
	if p.sup, err = supervise(r.Owners, r.Devices, req); err != nil {
		return err
	}
	p.undo = append(p.undo, p.sup.close)
	req.FirstTree += len(p.sup.files())
	self, err := runner.Self(at.flags&unix.CLONE_NEWUSER != 0)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, func() { self.Close() })
	p.cmd = processOne(j, runner.Path(self), at.flags, slices.Concat([]*os.File{p.in.r, p.out.w}, p.sup.files(), j.Trees))
	if p.shared = req.SharedPID; p.shared { // it has more to end than itself: it does when we are gone
		p.cmd.SysProcAttr.Pdeathsig = 0
	}
	release, err := start(p.cmd, at.joins, j.Trees)
	p.undo = append(p.undo, release)
	if err != nil {
		return err
	}
	p.in.r.Close()
	p.out.w.Close()
	r.Log.Debug("started process", "name", runchild.Name, "pid", p.cmd.Process.Pid)
	return nil
}

// work has it execute the command, and waits until both have ended.
func (p *process) work(r Runner, req *runchild.Request, h hooking, made func(runner.Stubs)) (runner.Result, error) {
	p.sup.start(p.cmd.Process.Pid, r.Log)
	t := talk{w: p.in.w, dec: json.NewDecoder(p.out.r), pid: p.cmd.Process.Pid, hooks: h, made: made}
	res, err := t.hold(req)
	if werr := p.cmd.Wait(); werr != nil && err == nil && !errors.Is(werr, exec.ErrWaitDelay) {
		err = fmt.Errorf("running the command: %w", werr)
	}
	return res, errors.Join(err, p.sup.wait())
}

// kill ends it and the command.
func (p *process) kill() {
	if p.shared {
		_ = p.in.w.Close()
	} else {
		_ = p.cmd.Process.Kill()
	}
}

func (p *process) close() {
	for _, f := range slices.Backward(p.undo) {
		f()
	}
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

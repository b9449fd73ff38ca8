package runchild

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Main is the whole life of process 1 and returns its exit status, which only says whether it worked:
// the command's own is in the last report.
func Main() (status int) {
	runtime.LockOSThread() // what the command inherits is set on this thread
	in, out := os.NewFile(3, "request"), os.NewFile(4, "report")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	enc := json.NewEncoder(out)
	var req Request
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		return 1
	}
	keep, err := keeperFor(&req)
	if err != nil {
		_ = enc.Encode(Report{Error: err.Error()})
		return 1
	}
	listen := func() error { return in.Close() }
	if keep != nil {
		listen = func() error { go keep.watch(in); return nil }
	}
	hooked := func() error { return nil }
	if req.Hooked {
		hooked = func() error { return errors.Join(parentHooks(in, enc), listen()) }
	} else if err := listen(); err != nil {
		return 1
	}
	rep, pid, err := start(&req, hooked)
	if err != nil {
		rep.Error = err.Error()
		rep.Command = errors.Is(err, errCommand)
		var errno syscall.Errno
		if errors.As(err, &errno) {
			rep.Errno = int(errno)
		}
	}
	if keep != nil {
		defer func() { keep.end(status) }() // also what hooks have left, and the command whose parent has gone
	}
	if enc.Encode(rep) != nil || err != nil {
		return 1
	}
	last := reap(pid)
	if keep != nil {
		keep.sweep() // before the command counts as ended
	}
	if enc.Encode(last) != nil {
		return 1
	}
	return 0
}

// keeperFor is the keeper of a command whose PID namespace is not its own, nil for others.
func keeperFor(req *Request) (*keeper, error) {
	if !req.SharedPID {
		return nil, nil //nolint:nilnil // none is needed
	}
	return newKeeper(req.JoinedPID)
}

// parentHooks lets the parent run its hooks, now that everything is mounted.
func parentHooks(in *os.File, enc *json.Encoder) error {
	if err := enc.Encode(Report{Mounted: true}); err != nil {
		return err
	}
	if _, err := io.ReadFull(in, make([]byte, 1)); err != nil {
		return errors.New("a hook has failed") // which the parent knows more of
	}
	return nil
}

// start prepares everything and starts the command. hooked is called when everything is mounted.
func start(req *Request, hooked func() error) (Report, int, error) {
	name, _ := unix.BytePtrFromString(Name) // it is started by a descriptor, and ps would show that
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
	// Nobody in the container may look at this process, its environment or its executable (CVE-2019-5736).
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return Report{}, 0, fmt.Errorf("protecting process 1: %w", err)
	}
	os.Clearenv()
	_ = unix.CloseRange(5, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC) // older kernels: everything of ours is close-on-exec anyway
	unix.Umask(0o022)
	attrs, err := openAttributes(req.Attributes) // in the host's /proc, as nothing in the container's can be put in its place (CVE-2025-52881)
	if err != nil {
		return Report{}, 0, err
	}
	b, err := buildRoot(req, hooked)
	rep := Report{Missed: b.missed, Stubs: b.points.Stubs}
	if err != nil {
		return rep, 0, err
	}
	if err := identity(req); err != nil {
		return rep, 0, err
	}
	if err := workdir(req); err != nil {
		return rep, 0, err
	}
	path, err := lookup(req)
	if err != nil {
		return rep, 0, fmt.Errorf("%w%w", errCommand, err)
	}
	givePipes(req)
	if err := attrs.set(); err != nil {
		return rep, 0, err
	}
	if err := restrict(req); err != nil {
		return rep, 0, err
	}
	if err := supervise(req.Owners); err != nil {
		return rep, 0, err
	}
	if err := RunHooks("startContainer", req.StartContainer, req.State.At("created", os.Getpid()), nil, credential(req)); err != nil {
		return rep, 0, err
	}
	pid, err := syscall.ForkExec(path, req.Argv, &syscall.ProcAttr{
		Env: req.Env, Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Credential: credential(req), Setsid: req.Terminal, Setctty: req.Terminal},
	})
	if err != nil {
		return rep, 0, fmt.Errorf("%wstarting %q: %w", errCommand, req.Argv[0], err)
	}
	return rep, pid, nil
}

// givePipes lets the command open its streams again (/dev/stdout), where they are pipes. They cannot be given by who is not root.
func givePipes(req *Request) {
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO && st.Uid != req.UID {
			_ = unix.Fchown(fd, int(req.UID), int(req.GID))
		}
	}
}

// errCommand marks errors that are the command's own. It has no words.
var errCommand = errors.New("")

func credential(req *Request) *syscall.Credential {
	return &syscall.Credential{Uid: req.UID, Gid: req.GID, Groups: req.Groups, NoSetGroups: !req.SetGroups}
}

// reap passes signals on to the command and waits for it; everything else in the container dies with process 1.
func reap(pid int) Report {
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGCONT)
	go func() {
		for s := range sigs {
			if n, ok := s.(syscall.Signal); ok {
				_ = unix.Kill(pid, n)
			}
		}
	}()
	for {
		var ws unix.WaitStatus
		got, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return Report{Done: true, Error: err.Error()}
		case got != pid:
			continue
		case ws.Signaled():
			return Report{Done: true, Signal: int(ws.Signal())}
		}
		return Report{Done: true, Exit: ws.ExitStatus()}
	}
}

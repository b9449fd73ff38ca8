package runchild

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// RuntimeName is argv[0] of the process that an OCI runtime is started from.
const RuntimeName = "slipway-oci"

// RuntimeRequest says how to start an OCI runtime. The process is the first of a pid namespace of its own, so that the
// runtime and the container end with it however it ends, and has a mount namespace, so that nothing is left mounted.
type RuntimeRequest struct {
	// Stage is an empty directory. A tmpfs on it, which only the runtime sees, gets the Config as config.json and the Files as
	// file0, file1, …; the detached mounts that the process was given, as many as Trees, are at tree0,
	// tree1, ….
	Stage  string
	Config []byte
	Files  []File
	Trees  int
	// MountLabel is the SELinux label of that tmpfs, empty for none.
	MountLabel string
	// Terminal says that the standard streams are a terminal, whose size the runtime is to follow; Console that this process follows it instead, as
	// the runtime hands over the container's at [RuntimeRequest.ConsoleSocket].
	Terminal, Console bool
	// HideUnified takes the second cgroup hierarchy of hybrid hosts away, which crun refuses to work beside.
	HideUnified bool
	// Loopback says that the process has a network namespace of its own, whose loopback interface it brings up.
	Loopback bool
	// Sysctls are settings of that namespace, which the runtime does not take for the container's own.
	Sysctls map[string]string
	// SharedPID says that the container's PID namespace is the host's: the process has none of its own then, and ends what is left itself. The
	// parent keeps its end of descriptor 3 open until all is over, and the runtime writes [RuntimeRequest.PIDFile].
	SharedPID bool
	Argv      []string
}

// PIDFile is where the runtime is to write the number of the container's first process.
func (r *RuntimeRequest) PIDFile() string { return path.Join(r.Stage, "pid") }

// StagedFile is where the runtime finds the i-th of Files.
func (r *RuntimeRequest) StagedFile(i int) string { return stagedFile(r.Stage, i) }

// StagedTree is where the runtime finds the i-th tree, which may also be a namespace.
func (r *RuntimeRequest) StagedTree(i int) string {
	return path.Join(r.Stage, fmt.Sprintf("tree%d", i))
}

const unified = "/sys/fs/cgroup/unified"

// RuntimeMain is the whole life of that process; its exit status is the container's, or 1 where the runtime made none. What went wrong before the runtime was
// started is reported on descriptor 4 as with [Main].
func RuntimeMain() int {
	in, out := os.NewFile(3, "request"), os.NewFile(4, "report")
	unix.CloseOnExec(3)
	unix.CloseOnExec(4)
	var req RuntimeRequest
	if err := json.NewDecoder(in).Decode(&req); err != nil {
		return 1
	}
	var keep *keeper
	var err error
	if req.SharedPID {
		if keep, err = newKeeper(false); err == nil {
			defer keep.sweep()
			go keep.watch(in)
		}
	} else {
		in.Close()
	}
	var pid int
	var tty *console
	if err == nil {
		pid, tty, err = startRuntime(&req)
	}
	if err != nil {
		_ = json.NewEncoder(out).Encode(Report{Error: err.Error()})
		return 1
	}
	out.Close()
	if keep != nil {
		go keep.follow(pid, req.PIDFile())
	}
	end := reap(pid)
	if keep != nil {
		keep.sweep() // what is left may have the terminal
	}
	if tty != nil {
		tty.drain()
	}
	switch {
	case end.Signal != 0:
		return 128 + end.Signal
	case end.Exit > 0 && req.Config != nil && !isThere(req.PIDFile()):
		return 1 // there was no container: the number is the runtime's, not a command's (exact.md, cli.md §4)
	}
	return end.Exit
}

func isThere(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// startRuntime returns also the console, if there is one.
func startRuntime(req *RuntimeRequest) (pid int, tty *console, err error) {
	if err := prepare(req); err != nil {
		return 0, nil, err
	}
	signal.Ignore(unix.SIGTTOU, unix.SIGTTIN)
	// Only whose controlling terminal it is hears that its size has changed.
	attr := &syscall.SysProcAttr{Setsid: req.Terminal, Setctty: req.Terminal}
	if req.Console {
		*attr = syscall.SysProcAttr{}
		if tty, err = newConsole(req.Stage); err != nil {
			return 0, nil, err
		}
	}
	pid, err = syscall.ForkExec(req.Argv[0], req.Argv, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		return 0, nil, fmt.Errorf("starting OCI runtime %s: %w", req.Argv[0], err)
	}
	return pid, tty, nil
}

// prepare makes what the runtime finds in its namespaces.
func prepare(req *RuntimeRequest) error {
	_ = unix.CloseRange(5, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC)
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separating mounts from the host's: %w", err)
	}
	if req.Config != nil {
		if err := req.stage(); err != nil {
			return err
		}
	}
	if !req.SharedPID { // else the one there is shows this namespace, and a user's root may mount no other
		if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
			return fmt.Errorf("mounting /proc for the OCI runtime: %w", err)
		}
	}
	if req.HideUnified {
		err := unix.Unmount(unified, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) { // locked, in a user namespace: then something else is in front of it
			err = unix.Mount("tmpfs", unified, "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=0k")
		}
		if err != nil {
			return fmt.Errorf("hiding %s: %w", unified, err)
		}
	}
	if req.Loopback {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bringing up the loopback interface: %w", err)
		}
	}
	_, err := sysctls(req.Sysctls, func(name string) (*os.File, error) { return os.OpenFile(name, os.O_WRONLY, 0) })
	return err
}

// stage fills the stage.
func (r *RuntimeRequest) stage() error {
	if err := stage(r.Stage, r.Files, r.MountLabel, rootfs.Apply); err != nil {
		return err
	}
	for i := range r.Trees {
		var st unix.Stat_t
		if err := unix.Fstat(FirstTree+i, &st); err != nil {
			return err
		}
		at, err := r.StagedTree(i), error(nil)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = os.Mkdir(at, 0o700)
		} else {
			err = os.WriteFile(at, nil, 0o600)
		}
		if err == nil {
			err = unix.MoveMount(FirstTree+i, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		if err != nil {
			return fmt.Errorf("preparing a mount for the OCI runtime: %w", err)
		}
	}
	return os.WriteFile(path.Join(r.Stage, "config.json"), r.Config, 0o600)
}

package runchild

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper ends what the command leaves behind in a PID namespace that is not its own: the host's, or one that was joined. Nothing dies with
// this process there, so that everything that loses its parent becomes this process's child.
type keeper struct {
	mu   sync.Mutex
	proc *os.File // the process file system of this namespace
}

// newKeeper is called while the host's file systems are in sight.
func newKeeper(joined bool) (*keeper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming the parent of the command's orphans: %w", err)
	}
	if !joined {
		f, err := os.Open("/proc")
		return &keeper{proc: f}, err
	}
	f, err := freshProc()
	if err != nil {
		return nil, fmt.Errorf("mounting /proc of the joined pid namespace: %w", err)
	}
	return &keeper{proc: f}, nil
}

// freshProc is a process file system of this namespace that is attached nowhere.
func freshProc() (*os.File, error) {
	fd, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, err
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(m)
	f, err := unix.Openat(m, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return os.NewFile(uintptr(f), "/proc"), err
}

// watch ends everything once the parent has gone, or wants that: when the pipe that the request came through is closed.
func (k *keeper) watch(in io.ReadCloser) {
	_, _ = io.Copy(io.Discard, in)
	in.Close()
	for { // until this process ends, as it does when the command has
		k.kill(os.Getpid())
		time.Sleep(10 * time.Millisecond)
	}
}

// sweep ends all descendants and waits for them. It is done by a thread that has none of the command's restrictions.
func (k *keeper) sweep() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k.kill(os.Getpid()); !childless(); k.kill(os.Getpid()) {
			time.Sleep(time.Millisecond)
		}
	}()
	<-done
}

// end ends all descendants and this process. A parent that has gone answers no more calls of the thread that has the command's restrictions, not
// even the one to end.
func (k *keeper) end(status int) {
	k.sweep()
	go os.Exit(status)
	select {}
}

// childless waits for the children that have ended and tells whether none are left.
func childless() bool {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.ECHILD):
			return true
		case pid <= 0 && !errors.Is(err, unix.EINTR):
			return false
		}
	}
}

// follow ends what the first process of a container leaves to its runtime, which would wait for that. The runtime writes the process's number
// into file.
func (k *keeper) follow(runtime int, file string) {
	var text []byte
	for ; len(text) == 0; text, _ = os.ReadFile(file) {
		time.Sleep(10 * time.Millisecond)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		if k.parent(strconv.Itoa(pid)) == runtime { // else it has ended already
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			for errors.Is(err, unix.EINTR) {
				_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			}
		}
		unix.Close(fd)
	}
	for { // until the runtime has ended, and this process with it
		k.kill(runtime)
		time.Sleep(10 * time.Millisecond)
	}
}

// kill kills all children of a process that gets those of its descendants that lose their parent: theirs are its own the next time.
func (k *keeper) kill(of int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.proc.Seek(0, io.SeekStart); err != nil {
		return
	}
	names, _ := k.proc.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0) // what is looked at is what is killed, whoever gets the number next
		if err != nil {
			continue
		}
		if k.parent(name) == of {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
	}
}

// parent is the number of a process's parent, 0 if it has ended.
func (k *keeper) parent(name string) int {
	fd, err := unix.Openat(int(k.proc.Fd()), name+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	buf := make([]byte, 512)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return 0
	}
	text := string(buf[:n])
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the program's name, in parentheses, may hold anything
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// Package userns runs this program as root of a user namespace, so that an ordinary user can do what
// needs root: mount, own files as anyone, be anyone in a container. It uses clone flags only, as the default filters of
// pods refuse unshare(2) (decisions.md §1.8).
//
// The ladder, first what gives most:
//
//	subordinate ids   newuidmap and newgidmap map the ranges of /etc/subuid and /etc/subgid
//	one id            only our own identity is mapped, to root; nothing needs to be installed for it
//	                  (a container's root without CAP_SYS_ADMIN has its own ids there)
//	none              the kernel or a filter refuses user namespaces; the caller goes on without. Root on this rung is as good as root
//	                  only over files, and without the capabilities for them is an ordinary user
//
// Storage libraries are told through the _CONTAINERS_* variables that they read.
package userns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/caps"
)

// Name is argv[0] of the process that waits for its ids to be mapped.
const Name = "slipway-userns"

// The variables that tell storage libraries, and ourselves, where we are.
const (
	configured = "_CONTAINERS_USERNS_CONFIGURED"
	rootlessID = "_CONTAINERS_ROOTLESS_UID"
	rootlessGI = "_CONTAINERS_ROOTLESS_GID"
	enteredBy  = "_SLIPWAY_ENTERED_BY"     // the process that waits for this one
	without    = "_SLIPWAY_WITHOUT_USERNS" // why there is none
)

// A Rung is how much of a user namespace this process has.
type Rung int

// The rungs.
const (
	Root        Rung = iota // the host's root, no namespace needed
	Subordinate             // a range of ids
	OneID                   // our own only
	None
)

func (r Rung) String() string {
	return [...]string{"root", "subordinate ids", "one id", "none"}[r]
}

// Current tells which rung this process is on.
func Current() Rung {
	if !caps.Files() {
		return None
	}
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return Root
	}
	f := strings.Fields(string(text))
	switch {
	case len(f) == 3 && f[2] == "1":
		return OneID
	case os.Getenv(configured) != "":
		return Subordinate
	}
	return Root
}

// Privileged tells whether this process is root and may mount, so that it needs no namespace. Root of a container usually may not.
func Privileged() bool { return os.Geteuid() == 0 && caps.Have(unix.CAP_SYS_ADMIN) }

// Outside returns the id that this process's user has outside of the namespace that was entered.
func Outside() int {
	if uid, err := strconv.Atoi(os.Getenv(rootlessID)); err == nil && Entered() {
		return uid
	}
	return os.Getuid()
}

// OutsideGroup is the same of its group.
func OutsideGroup() int {
	if gid, err := strconv.Atoi(os.Getenv(rootlessGI)); err == nil && Entered() {
		return gid
	}
	return os.Getgid()
}

// Entered tells whether a caller has prepared the namespace already.
func Entered() bool { return os.Getenv(configured) != "" }

// Enter starts this program again, with the same arguments, as root of a new user and mount namespace,
// waits for it and returns its exit status. Signals are passed on, and the other process dies with this one. An error means that
// there can be no such namespace here.
func Enter() (int, error) {
	if os.Getenv(enteredBy) != "" {
		return 0, errors.New("user namespace has been entered, but its ids are not mapped")
	}
	runtime.LockOSThread() // the parent-death signal is the thread's
	wait, ready, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	uid, gid := os.Getuid(), os.Getgid()
	var ranges *mapping
	if uid != 0 {
		ranges = usable(uid)
	}
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if ranges == nil {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	if uid == 0 && caps.Have(unix.CAP_SETUID, unix.CAP_SETGID) {
		attr.UidMappings, attr.GidMappings = same("/proc/self/uid_map"), same("/proc/self/gid_map")
		attr.GidMappingsEnableSetgroups = !groupsDenied()
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{Name}, os.Args...), SysProcAttr: attr,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, ExtraFiles: []*os.File{wait},
		Env: append(os.Environ(), configured+"=done", rootlessID+"="+strconv.Itoa(uid), rootlessGI+"="+strconv.Itoa(gid), enteredBy+"="+strconv.Itoa(os.Getpid())),
	}
	sigs := Catch()
	if err := cmd.Start(); err != nil {
		return 0, &refusedError{err}
	}
	wait.Close()
	if ranges != nil {
		if err := ranges.apply(cmd.Process.Pid); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return 0, err
		}
	}
	if _, err := ready.Write([]byte{1}); err != nil {
		return 0, err
	}
	ready.Close()
	go Forward(sigs, cmd.Process)
	return status(cmd.Wait(), cmd.ProcessState), nil
}

// groupsDenied tells whether nobody may set groups in this namespace, as where one id was mapped without privilege: those made in it inherit that.
func groupsDenied() bool {
	text, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(text)) == "deny"
}

// same maps the ids that this process knows to themselves. The last of all ids is left out: storage takes a namespace that has every id for
// the host's own, and would use attributes that only the host's root may set.
func same(file string) (list []syscall.SysProcIDMap) {
	text, err := os.ReadFile(file)
	if err != nil {
		return []syscall.SysProcIDMap{{Size: 1}}
	}
	for line := range strings.Lines(string(text)) {
		var inside, outside, size int
		if _, err := fmt.Sscan(line, &inside, &outside, &size); err == nil {
			list = append(list, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: min(size, 1<<32-2)})
		}
	}
	return list
}

// Catch has the signals that a user sends to a program delivered to a channel, for Forward.
func Catch() <-chan os.Signal {
	sigs := make(chan os.Signal, 16)
	signal.Notify(sigs, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	return sigs
}

// Forward passes signals on to a child for as long as this process lives. Those of the keyboard reach the whole process group by
// themselves.
func Forward(sigs <-chan os.Signal, p *os.Process) {
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	terminal := err == nil
	for s := range sigs {
		if terminal && (s == unix.SIGINT || s == unix.SIGQUIT) {
			continue
		}
		_ = p.Signal(s)
	}
}

func status(err error, st *os.ProcessState) int {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	if code := st.ExitCode(); code >= 0 {
		return code
	}
	if err != nil {
		return 125
	}
	return 0
}

// Main is the process that waits until its ids are mapped, and then becomes this program as root.
func Main() int {
	if err := waitAndExec(); err != nil {
		fmt.Fprintln(os.Stderr, "Error: entering the user namespace:", err)
	}
	return 125
}

func waitAndExec() error {
	gate := os.NewFile(3, "gate")
	if n, err := gate.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("parent did not map our ids: %w", err)
	}
	gate.Close()
	if len(os.Args) < 2 {
		return errors.New("no command")
	}
	return unix.Exec("/proc/self/exe", os.Args[1:], os.Environ())
}

// DieWithCaller makes this process die with the one that has brought it into the namespace and waits for it, also when that is killed. The kernel
// forgets that it was to, when who has got ids executes a program and becomes root by that. Nothing changes for who was started by another process.
func DieWithCaller() error {
	caller, err := strconv.Atoi(os.Getenv(enteredBy))
	if err != nil || os.Getppid() != caller {
		return nil //nolint:nilerr // it was not brought
	}
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != caller {
		return errors.New("the caller has been killed")
	}
	return nil
}

// mapping is what newuidmap and newgidmap are told.
type mapping struct {
	uidmap, gidmap string // the helpers
	uids, gids     []idRange
}

// usable returns the subordinate ids if they and the helpers are there.
func usable(uid int) *mapping {
	name := myName(uid)
	m := &mapping{uids: subidFile("/etc/subuid", name, uid), gids: subidFile("/etc/subgid", name, uid)}
	var err1, err2 error
	m.uidmap, err1 = exec.LookPath("newuidmap")
	m.gidmap, err2 = exec.LookPath("newgidmap")
	nnp, _ := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if name == "" || len(m.uids) == 0 || len(m.gids) == 0 || err1 != nil || err2 != nil || nnp == 1 {
		return nil
	}
	return m
}

func (m *mapping) apply(pid int) error {
	if err := set(m.uidmap, pid, os.Getuid(), m.uids); err != nil {
		return err
	}
	return set(m.gidmap, pid, os.Getgid(), m.gids)
}

func set(helper string, pid, own int, ranges []idRange) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	next := int64(1)
	for _, r := range ranges {
		args = append(args, strconv.FormatInt(next, 10), strconv.FormatInt(r.start, 10), strconv.FormatInt(r.size, 10))
		next += r.size
	}
	out, err := exec.Command(helper, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %s: %w", helper, strings.TrimSpace(string(out)), err)
	}
	return nil
}

package runchild

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// identity sets what belongs to the container as a whole.
func identity(req *Request) error {
	if req.Hostname != "" {
		if err := unix.Sethostname([]byte(req.Hostname)); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("setting the host name: %w", err)
		}
	}
	if req.Loopback {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bringing up the loopback interface: %w", err)
		}
	}
	for _, l := range req.Limits {
		if err := unix.Setrlimit(l.Resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			return fmt.Errorf("setting resource limit %d to %d:%d: %w", l.Resource, l.Soft, l.Hard, err)
		}
	}
	return nil
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// workdir makes the working directory if it is not there, owned by the user, and goes there. It is entered by the
// descriptor that the look-up gave, never by name again: a name could lead to a descriptor of ours (CVE-2024-21626).
func workdir(req *Request) error {
	own := rootfs.Ignore
	if len(req.Owners) > 0 {
		own = rootfs.Record
	}
	root, err := rootfs.Open("/", own)
	if err != nil {
		return err
	}
	defer root.Close()
	d, err := root.MkdirAll(req.Dir, 0o755, int(req.UID), int(req.GID))
	if err != nil {
		return fmt.Errorf("working directory %s: %w", req.Dir, err)
	}
	defer d.Close()
	if err := unix.Fchdir(d.Fd()); err != nil {
		return fmt.Errorf("working directory %s: %w", req.Dir, err)
	}
	return nil
}

// lookup finds the command, in the container's PATH if it has no slash.
func lookup(req *Request) (string, error) {
	name := req.Argv[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(req.Dir, name)
		}
		return name, executable(name)
	}
	search := ""
	for _, kv := range req.Env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			search = v
		}
	}
	for _, dir := range strings.Split(search, ":") {
		full := path.Join(req.Dir, dir, name)
		if path.IsAbs(dir) {
			full = path.Join(dir, name)
		}
		if executable(full) == nil {
			return full, nil
		}
	}
	return "", notInPath(name)
}

// notInPath is the name of a command that no directory of PATH has.
type notInPath string

func (n notInPath) Error() string {
	return fmt.Sprintf("executable file %q not found in $PATH", string(n))
}

func (n notInPath) Unwrap() error { return unix.ENOENT }

func executable(name string) error {
	st, err := os.Stat(name)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, unix.ENOENT)
	case st.IsDir():
		return fmt.Errorf("%s: %w", name, unix.EISDIR)
	case st.Mode()&0o111 == 0:
		return fmt.Errorf("%s: %w", name, unix.EACCES)
	}
	return nil
}

// restrict gives up, on this thread and so for the command, what the command is not to have. Order
// matters: the filter comes last, as it may refuse the calls before it.
func restrict(req *Request) error {
	_, _ = unix.KeyctlJoinSessionKeyring("") // the caller's keyring is none of the command's business; not all kernels have keys
	for c := uintptr(0); c <= 63; c++ {
		if req.Caps&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // beyond the last capability of this kernel
		}
		if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	if err := clearInheritable(); err != nil {
		return fmt.Errorf("clearing inheritable capabilities: %w", err)
	}
	if req.NoNewPriv || len(req.Owners) > 0 || len(req.Seccomp) > 0 && !haveSysAdmin() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("setting no_new_privs: %w", err)
		}
	}
	return loadFilter(req.Seccomp)
}

func capData() (unix.CapUserHeader, [2]unix.CapUserData, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	err := unix.Capget(&h, &d[0])
	return h, d, err
}

func clearInheritable() error {
	h, d, err := capData()
	if err != nil {
		return err
	}
	d[0].Inheritable, d[1].Inheritable = 0, 0
	return unix.Capset(&h, &d[0])
}

func haveSysAdmin() bool {
	_, d, err := capData()
	return err == nil && d[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// loadFilter loads a seccomp filter for this thread.
func loadFilter(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	prog := unix.SockFprog{Len: uint16(len(raw) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("loading the seccomp filter: %w", errno)
	}
	return nil
}

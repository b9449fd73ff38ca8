package userns

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/caps"
)

// refusedError says that the kernel did not make the namespace.
type refusedError struct{ err error }

func (e *refusedError) Error() string {
	return fmt.Sprintf("user namespaces are not available: %v", e.err)
}
func (e *refusedError) Unwrap() error { return e.err }

// EnterOrGoOn is [Enter] on the upper rungs. Where the kernel makes no user namespace this process goes on, refused, on the last one.
func EnterOrGoOn() (code int, refused bool, err error) {
	code, err = Enter()
	if why := refusal(err); why != nil {
		os.Setenv(without, why.Error()) //nolint:errcheck // no NUL, no '=' in the name
		return 0, true, nil
	}
	return code, false, err
}

// refusal returns why the kernel makes no user namespace here and what would change that, if this is what err says, else nil.
func refusal(err error) error {
	var r *refusedError
	if !errors.As(err, &r) {
		return nil
	}
	if os.Geteuid() == 0 && errors.Is(err, unix.EPERM) && !caps.Have(unix.CAP_SETFCAP) { // from Linux 5.12 on
		return errors.New("root without the capability SETFCAP may not take its id into a user namespace: run as another user (in a pod, runAsUser: 1000), or add that capability")
	}
	return cause(err, func(file string) string {
		text, _ := os.ReadFile(file)
		return string(text)
	})
}

const remedy = "in a pod, set hostUsers: false or a seccomp profile that allows clone with CLONE_NEWUSER and mounts (docs/kubernetes.md)"

// cause tells apart what refuses; read gives the text of a file of /proc, "" if there is none.
func cause(err error, read func(file string) string) error {
	is := func(file, value string) bool { return strings.TrimSpace(read("/proc/sys/"+file)) == value }
	switch {
	case errors.Is(err, unix.ENOSPC), is("user/max_user_namespaces", "0"):
		return errors.New("user namespaces are switched off on this machine: set sysctl user.max_user_namespaces above 0")
	case is("kernel/unprivileged_userns_clone", "0"):
		return errors.New("user namespaces are reserved for root on this machine: set sysctl kernel.unprivileged_userns_clone=1")
	case strings.Contains(read("/proc/self/status"), "\nSeccomp:\t2"):
		return errors.New("the container's seccomp filter refuses user namespaces: " + remedy)
	case is("kernel/apparmor_restrict_unprivileged_userns", "1"):
		return errors.New("AppArmor refuses user namespaces: set sysctl kernel.apparmor_restrict_unprivileged_userns=0 or give slipway a profile that allows userns")
	}
	return fmt.Errorf("the kernel refuses user namespaces (%w): %s", unwrapped(err), remedy)
}

// unwrapped is the kernel's own error.
func unwrapped(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// Why returns why this process went on without a user namespace, "" if it is on a higher rung.
func Why() string {
	if Privileged() {
		return ""
	}
	return os.Getenv(without)
}

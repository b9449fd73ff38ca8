package userns

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		files map[string]string
		want  string
	}{
		"filter":     {unix.ENOSYS, map[string]string{"/proc/self/status": "Name:\tx\nSeccomp:\t2\n"}, "seccomp filter"},
		"none left":  {unix.ENOSPC, nil, "max_user_namespaces"},
		"none":       {unix.EPERM, map[string]string{"/proc/sys/user/max_user_namespaces": "0\n"}, "max_user_namespaces"},
		"debian":     {unix.EPERM, map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "unprivileged_userns_clone=1"},
		"ubuntu":     {unix.EACCES, map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "AppArmor"},
		"no idea":    {unix.EPERM, nil, "operation not permitted"},
		"everything": {unix.EPERM, map[string]string{"/proc/self/status": "\nSeccomp:\t0\n"}, "hostUsers: false"},
	} {
		err := refusal(&refusedError{&os.PathError{Op: "fork/exec", Path: "x", Err: c.err}})
		if err == nil {
			t.Fatal(name)
		}
		if got := cause(&os.PathError{Err: c.err}, func(f string) string { return c.files[f] }).Error(); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if err := refusal(unix.EPERM); err != nil {
		t.Error(err)
	}
}

package runner

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// AsRoot calls f as the given user and group of the host, who is root of a container's user namespace, with all capabilities that this process has:
// what f makes in file systems belongs to them, where this process's own user has no number. f runs on a thread of its own, and must not
// start others.
func AsRoot(uid, gid int, f func() error) error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this function, and with it who it is
		err := become(uid, gid)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	err = <-done
	return errors.Join(err, unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(dumpable), 0, 0, 0)) // which the change took from the process
}

// become changes who this thread is to file systems.
func become(uid, gid int) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&hdr, &caps[0]); err != nil {
		return err
	}
	if err := errors.Join(unix.Setfsgid(gid), unix.Setfsuid(uid)); err != nil {
		return err
	}
	return unix.Capset(&hdr, &caps[0]) // the change took some
}

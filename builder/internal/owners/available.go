package owners

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Available returns nil if a supervisor can work here. An error names what is refused: without it, owners would be wrong silently.
func Available() error {
	const getActionAvail = 2 // SECCOMP_GET_ACTION_AVAIL
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, getActionAvail, 0, uintptr(unsafe.Pointer(&action))); errno != 0 {
		return fmt.Errorf("seccomp user notification is not available: %w", errno)
	}
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(scope)) == "3" {
		return errors.New("kernel.yama.ptrace_scope=3 forbids to look into processes: it must be lower")
	}
	for _, need := range []struct {
		name string
		try  func() error
	}{
		{"process_vm_readv", func() error { return vmAccess(unix.SYS_PROCESS_VM_READV) }},
		{"process_vm_writev", func() error { return vmAccess(unix.SYS_PROCESS_VM_WRITEV) }},
		{"openat2", openAccess},
		{"pidfd_open or pidfd_send_signal", pidfdAccess},
	} {
		if err := need.try(); err != nil {
			return fmt.Errorf("%s is refused (%w), most likely by a seccomp filter, which must allow it", need.name, err)
		}
	}
	return nil
}

// vmAccess copies a byte of our own memory.
func vmAccess(call uintptr) error {
	var from, to byte
	here, there := unix.Iovec{Base: &to, Len: 1}, unix.Iovec{Base: &from, Len: 1}
	_, _, errno := unix.Syscall6(call, uintptr(os.Getpid()), uintptr(unsafe.Pointer(&here)), 1, uintptr(unsafe.Pointer(&there)), 1, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func openAccess() error {
	fd, err := unix.Openat2(unix.AT_FDCWD, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC})
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func pidfdAccess() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.PidfdSendSignal(fd, 0, nil, 0)
}

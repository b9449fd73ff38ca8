package runchild

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// supervise loads the filter for this thread and sends its listener to the parent, which answers from then on. Only what
// the command is started with comes after it.
func supervise(raw []byte) error {
	if len(raw) == 0 {
		return nil
	}
	prog := unix.SockFprog{Len: uint16(len(raw) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	load := func(flags uintptr) (uintptr, unix.Errno) {
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		return fd, errno
	}
	fd, errno := load(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if errors.Is(errno, unix.EINVAL) { // before 5.19
		fd, errno = load(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	}
	if errors.Is(errno, unix.EBUSY) {
		return errors.New("answering for owners with one id: another program does so for this one already: in a step with one id no step with one id can run")
	}
	if errno != 0 {
		return fmt.Errorf("supervising owners: loading the filter: %w", errno)
	}
	err := unix.Sendmsg(5, []byte{1}, unix.UnixRights(int(fd)), nil, 0)
	unix.Close(int(fd))
	unix.Close(5)
	if err != nil {
		return fmt.Errorf("supervising owners: sending the listener: %w", err)
	}
	return nil
}

package owners

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is the kernel's struct seccomp_notif.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// ioctl is for requests that hardly wait: Go's scheduler need not hear of them. A signal may end even those; an answer must not be lost by that.
func ioctl(fd int, request uintptr, p unsafe.Pointer) error {
	for {
		switch _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p)); errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// preferHandover asks the kernel to run target and supervisor in turn on one processor, as they never run at the same time.
// Kernels before 6.6 cannot.
func preferHandover(fd int) {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// receive waits for the next call and puts it into n.
func receive(fd int, n *notification) error {
	*n = notification{} // the kernel insists on zeroes
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(n))); errno != 0 {
		return errno
	}
	return nil
}

// receivingEnds tells whether receive returns when the last process of the step is gone: kernels before 6.11 wait for ever.
func receivingEnds() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major > 6 || major == 6 && minor >= 11
}

// respond answers. ENOENT says that the target is gone, which is nobody's concern any more.
func respond(fd int, id uint64, value int64, errno unix.Errno, proceed bool) error {
	r := struct {
		id    uint64
		value int64
		err   int32
		flags uint32
	}{id: id, value: value, err: -int32(errno)}
	if proceed {
		r.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	return ioctl(fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&r))
}

// valid tells whether the target still waits for this answer, so that its pid is its own.
func (c *call) valid() bool {
	id := c.n.id
	return ioctl(c.s.listener, unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id)) == nil
}

// hand gives the target a descriptor of ours as the call's result. It waits for the target to take it, and a signal to us may end that: begun
// again, it must do no harm, so it is not the kernel's way to do both at once, which then answers with 0.
func (c *call) hand(fd int, cloexec bool) result {
	a := struct {
		id                         uint64
		flags, src, dst, dst_flags uint32 //nolint:revive // the kernel's names
	}{id: c.n.id, src: uint32(fd)}
	if cloexec {
		a.dst_flags = unix.O_CLOEXEC
	}
	for {
		number, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.s.listener), unix.SECCOMP_IOCTL_NOTIF_ADDFD, uintptr(unsafe.Pointer(&a)))
		switch errno {
		case 0:
			return done(int64(number))
		case unix.EINTR:
		default:
			return failed(errno)
		}
	}
}

// read reads up to len(b) bytes of the target's memory, page by page, as far as it is mapped.
func (c *call) read(addr uint64, b []byte) (int, error) {
	const page = 4096
	got := 0
	for got < len(b) {
		n := min(len(b)-got, int(page-(addr+uint64(got))%page))
		local := []unix.Iovec{{Base: &b[got], Len: uint64(n)}}
		k, err := unix.ProcessVMReadv(c.tid(), local, []unix.RemoteIovec{{Base: uintptr(addr) + uintptr(got), Len: n}}, 0)
		if err != nil {
			return got, err
		}
		got += k
	}
	return got, nil
}

// readFull is read for structures.
func (c *call) readFull(addr uint64, b []byte) error {
	_, err := c.read(addr, b)
	return err
}

func (c *call) write(addr uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := unix.ProcessVMWritev(c.tid(), []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n != len(b) {
		err = unix.EFAULT
	}
	return err
}

// text reads a string that ends with NUL, at most a path.
func (c *call) text(addr uint64) (string, error) {
	const page = 4096
	b := c.s.buf
	for got := 0; got < unix.PathMax; {
		n := int(page - (addr+uint64(got))%page)
		if got == 0 {
			n = min(n, 256) // most paths are short
		}
		if _, err := c.read(addr+uint64(got), b[got:got+n]); err != nil {
			return "", err
		}
		for i := got; i < got+n; i++ {
			if b[i] == 0 {
				return string(b[:i]), nil
			}
		}
		got += n
	}
	return "", unix.ENAMETOOLONG
}

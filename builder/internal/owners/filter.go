package owners

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Offsets in the kernel's struct seccomp_data.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// Filter returns the filter of a step as an array of struct sock_filter: our calls are notified, an open only if it may make
// a file. io_uring, which opens files without system calls, and other ABIs, whose calls would pass by, are
// answered as by a kernel that lacks them.
func Filter() []byte {
	var b []byte
	ins := func(code uint16, jt, jf uint8, k uint32) {
		b = binary.NativeEndian.AppendUint16(b, code)
		b = append(b, jt, jf)
		b = binary.NativeEndian.AppendUint32(b, k)
	}
	load := func(off uint32) { ins(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, off) }
	ret := func(action uint32) { ins(unix.BPF_RET|unix.BPF_K, 0, 0, action) }
	jump := func(test uint16, k uint32, jt, jf uint8) { ins(unix.BPF_JMP|test|unix.BPF_K, jt, jf, k) }
	const absent = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)

	load(offArch)
	jump(unix.BPF_JEQ, auditArch, 1, 0)
	ret(absent)
	load(offNr)
	jump(unix.BPF_JGE, foreignBit, 0, 1)
	ret(absent)
	for _, nr := range []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER} {
		jump(unix.BPF_JEQ, nr, 0, 1)
		ret(absent)
	}
	for nr := range int32(lastCall) {
		flags := map[int32]uint32{sysOpen: 1, unix.SYS_OPENAT: 2}[nr]
		switch {
		case handlers(nr) == nil:
		case nr == unix.SYS_PRCTL:
			jump(unix.BPF_JEQ, uint32(nr), 0, 5)
			load(offArgs)
			jump(unix.BPF_JEQ, unix.PR_SET_KEEPCAPS, 1, 0)
			jump(unix.BPF_JEQ, unix.PR_SET_SECUREBITS, 0, 1)
			ret(unix.SECCOMP_RET_USER_NOTIF)
			ret(unix.SECCOMP_RET_ALLOW)
		case nr == unix.SYS_GETSOCKOPT:
			jump(unix.BPF_JEQ, uint32(nr), 0, 7)
			load(offArgs + 8)
			jump(unix.BPF_JEQ, unix.SOL_SOCKET, 0, 4)
			load(offArgs + 16)
			jump(unix.BPF_JEQ, unix.SO_PEERCRED, 1, 0)
			jump(unix.BPF_JEQ, unix.SO_PEERGROUPS, 0, 1)
			ret(unix.SECCOMP_RET_USER_NOTIF)
			ret(unix.SECCOMP_RET_ALLOW)
		case flags != 0:
			jump(unix.BPF_JEQ, uint32(nr), 0, 4)
			load(offArgs + 8*flags)
			jump(unix.BPF_JSET, unix.O_CREAT|tmpfile, 0, 1)
			ret(unix.SECCOMP_RET_USER_NOTIF)
			ret(unix.SECCOMP_RET_ALLOW)
		default:
			jump(unix.BPF_JEQ, uint32(nr), 0, 1)
			ret(unix.SECCOMP_RET_USER_NOTIF)
		}
	}
	ret(unix.SECCOMP_RET_ALLOW)
	return b
}

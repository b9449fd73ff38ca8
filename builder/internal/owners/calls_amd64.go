package owners

import "golang.org/x/sys/unix"

const (
	sysFstatat = unix.SYS_NEWFSTATAT
	auditArch  = unix.AUDIT_ARCH_X86_64
	sysOpen    = unix.SYS_OPEN
	// foreignBit marks calls of the x32 ABI.
	foreignBit = 0x40000000
)

// legacy are the calls that newer architectures do without.
func legacy(nr int32) func(*call) result {
	switch nr {
	case unix.SYS_CHOWN:
		return chown
	case unix.SYS_LCHOWN:
		return lchown
	case unix.SYS_CHMOD:
		return chmod
	case unix.SYS_MKNOD:
		return mknod
	case unix.SYS_MKDIR:
		return mkdir
	case unix.SYS_SYMLINK:
		return symlink
	case unix.SYS_CREAT:
		return creat
	case unix.SYS_OPEN:
		return open
	case unix.SYS_STAT:
		return stat
	case unix.SYS_LSTAT:
		return lstat
	}
	return nil
}

package owners

import "golang.org/x/sys/unix"

const (
	sysFstatat = unix.SYS_FSTATAT
	auditArch  = unix.AUDIT_ARCH_AARCH64
	sysOpen    = -1
	foreignBit = 0x40000000
)

// legacy: this architecture has none of the old calls.
func legacy(int32) func(*call) result { return nil }

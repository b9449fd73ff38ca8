package seccomp

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The numbers of the system calls. It is text, read when a filter is made, because a map would be built each
// time that the program starts.
//
//go:embed syscalls.txt
var syscallTable string

// An abi is one way into the kernel: its audit name and its column in the table.
type abi struct {
	audit  uint32
	column int
	x32    bool // numbers above 0x40000000 belong to a third ABI
}

// abis returns the ABIs that a filter for goarch has to judge: the native one, and with it the 32-bit
// one if the profile names it.
func abis(goarch string, named []specs.Arch) ([]abi, error) {
	var list []abi
	var small specs.Arch
	switch goarch {
	case "amd64":
		list = []abi{{unix.AUDIT_ARCH_X86_64, 1, true}, {unix.AUDIT_ARCH_I386, 2, false}}
		small = specs.ArchX86
	case "arm64":
		list = []abi{{unix.AUDIT_ARCH_AARCH64, 3, false}, {unix.AUDIT_ARCH_ARM, 4, false}}
		small = specs.ArchARM
	default:
		return nil, fmt.Errorf("not supported on %s", goarch)
	}
	for _, a := range named {
		if a == small {
			return list, nil
		}
	}
	return list[:1], nil
}

// numbers maps the names of one column to numbers.
func numbers(column int) map[string]uint32 {
	m := make(map[string]uint32, 512)
	for line := range strings.Lines(syscallTable) {
		f := strings.Fields(line)
		if len(f) != 5 || f[0] == "#" {
			continue
		}
		if n, err := strconv.ParseUint(f[column], 10, 32); err == nil {
			m[f[0]] = uint32(n)
		}
	}
	return m
}

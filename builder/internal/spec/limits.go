package spec

import (
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Rlimits maps the names of --ulimit, in capitals, to the kernel's numbers.
func Rlimits() map[string]int {
	return map[string]int{
		"CORE": unix.RLIMIT_CORE, "CPU": unix.RLIMIT_CPU, "DATA": unix.RLIMIT_DATA, "FSIZE": unix.RLIMIT_FSIZE,
		"LOCKS": unix.RLIMIT_LOCKS, "MEMLOCK": unix.RLIMIT_MEMLOCK, "MSGQUEUE": unix.RLIMIT_MSGQUEUE, "NICE": unix.RLIMIT_NICE,
		"NOFILE": unix.RLIMIT_NOFILE, "NPROC": unix.RLIMIT_NPROC, "RSS": unix.RLIMIT_RSS, "RTPRIO": unix.RLIMIT_RTPRIO,
		"RTTIME": unix.RLIMIT_RTTIME, "SIGPENDING": unix.RLIMIT_SIGPENDING, "STACK": unix.RLIMIT_STACK,
	}
}

// rlimits are the asked-for limits. Those above what this process may set are clamped to it: raising a hard limit needs
// a privilege that pods do not have (platform.md §0).
func rlimits(ulimits []string, hard func(resource int) uint64) ([]specs.POSIXRlimit, error) {
	var list []specs.POSIXRlimit
	for _, text := range ulimits {
		name, values, ok := strings.Cut(text, "=")
		n, known := Rlimits()[strings.ToUpper(name)]
		if !ok || !known {
			return nil, fmt.Errorf("invalid ulimit %q: want type=soft[:hard]", text)
		}
		softText, hardText, two := strings.Cut(values, ":")
		if !two {
			hardText = softText
		}
		soft, err := limit(softText)
		if err != nil {
			return nil, fmt.Errorf("invalid ulimit %q: %w", text, err)
		}
		top, err := limit(hardText)
		if err != nil {
			return nil, fmt.Errorf("invalid ulimit %q: %w", text, err)
		}
		if soft > top {
			return nil, fmt.Errorf("invalid ulimit %q: soft limit is above the hard one", text)
		}
		top = min(top, hard(n))
		list = append(list, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(name), Soft: min(soft, top), Hard: top})
	}
	return list, nil
}

func limit(text string) (uint64, error) {
	if text == "-1" || text == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

package spec

import (
	"errors"
	"fmt"
	"slices"
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

// defaultLimit is what open files and processes are limited to unless the host allows less (containers.md §8.2).
const defaultLimit = 1048576

// rlimits are the asked-for limits and the two defaults. None is above what this process may set: raising a hard limit needs
// a privilege that pods do not have (platform.md §0). Who asked for more is told.
func rlimits(in Input) ([]specs.POSIXRlimit, error) {
	hard := func(name string) uint64 {
		if in.HardLimit == nil {
			return unix.RLIM_INFINITY
		}
		return in.HardLimit(Rlimits()[name])
	}
	set := map[string]specs.POSIXRlimit{}
	for _, name := range []string{"NOFILE", "NPROC"} {
		n := min(defaultLimit, hard(name))
		set[name] = specs.POSIXRlimit{Type: "RLIMIT_" + name, Soft: n, Hard: n}
	}
	for _, text := range in.Ulimits {
		name, l, err := ulimit(text)
		if err != nil {
			return nil, fmt.Errorf("invalid ulimit %q: %w", text, err)
		}
		if top := hard(name); l.Hard > top {
			in.Warn(fmt.Sprintf("ulimit %s is above the limit of this process and is lowered to %d", text, top))
			l.Hard, l.Soft = top, min(l.Soft, top)
		}
		set[name] = l
	}
	list := make([]specs.POSIXRlimit, 0, len(set))
	for _, l := range set {
		list = append(list, l)
	}
	slices.SortFunc(list, func(a, b specs.POSIXRlimit) int { return strings.Compare(a.Type, b.Type) })
	return list, nil
}

// ulimit reads "type=soft[:hard]".
func ulimit(text string) (string, specs.POSIXRlimit, error) {
	kind, values, ok := strings.Cut(text, "=")
	name := strings.ToUpper(strings.TrimPrefix(strings.ToLower(kind), "rlimit_"))
	if _, known := Rlimits()[name]; !ok || !known {
		return "", specs.POSIXRlimit{}, errors.New("want type=soft[:hard]")
	}
	softText, hardText, two := strings.Cut(values, ":")
	if !two {
		hardText = softText
	}
	soft, err := limit(softText)
	if err != nil {
		return "", specs.POSIXRlimit{}, err
	}
	hard, err := limit(hardText)
	if err != nil {
		return "", specs.POSIXRlimit{}, err
	}
	if soft > hard {
		return "", specs.POSIXRlimit{}, errors.New("the soft limit is above the hard one")
	}
	return name, specs.POSIXRlimit{Type: "RLIMIT_" + name, Soft: soft, Hard: hard}, nil
}

func limit(text string) (uint64, error) {
	if text == "-1" || text == "unlimited" {
		return unix.RLIM_INFINITY, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

package spec

import (
	"fmt"
	"slices"
	"strings"
)

// capNames lists the capabilities by number.
func capNames() []string {
	return strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
		NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
		SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
		SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
}

// DefaultCapabilities are the eleven a command gets unless told otherwise (containers.md §8.2).
func DefaultCapabilities() []string {
	return strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_BIND_SERVICE CAP_SETFCAP
		CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT`)
}

func capName(text string) (string, error) {
	name := strings.TrimPrefix(strings.ToUpper(text), "CAP_")
	if !slices.Contains(capNames(), name) {
		return "", fmt.Errorf("unknown capability %q", text)
	}
	return "CAP_" + name, nil
}

// Capabilities is base (nil for the default set) with some added and some dropped; names come with or without CAP_, in any
// case, or are "all". Dropping wins.
func Capabilities(base, add, drop []string) ([]string, error) {
	if base == nil {
		base = DefaultCapabilities()
	}
	set := map[string]bool{}
	change := func(names []string, on bool) error {
		for _, n := range names {
			if strings.EqualFold(n, "all") {
				for _, c := range capNames() {
					set["CAP_"+c] = on
				}
				continue
			}
			name, err := capName(n)
			if err != nil {
				return err
			}
			set[name] = on
		}
		return nil
	}
	for _, step := range []struct {
		names []string
		on    bool
	}{{base, true}, {add, true}, {drop, false}} {
		if err := change(step.names, step.on); err != nil {
			return nil, err
		}
	}
	list := []string{}
	for _, c := range capNames() {
		if set["CAP_"+c] {
			list = append(list, "CAP_"+c)
		}
	}
	slices.Sort(list)
	return list, nil
}

// CapMask is the set as the kernel's bit mask.
func CapMask(names []string) (uint64, error) {
	var mask uint64
	for _, n := range names {
		name, err := capName(n)
		if err != nil {
			return 0, err
		}
		mask |= 1 << slices.Index(capNames(), strings.TrimPrefix(name, "CAP_"))
	}
	return mask, nil
}

package spec

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// sysctls are the kernel's settings of in.Sysctls that the command has of its own: those of namespaces that it shares with the host,
// or with somebody else, stay as they are.
func sysctls(in Input) (map[string]string, error) {
	set := map[string]string{}
	for _, kv := range in.Sysctls {
		key, value, ok := strings.Cut(kv, "=")
		key = strings.ReplaceAll(strings.TrimSpace(key), "/", ".")
		kind := sysctlNamespace(key)
		switch {
		case !ok || strings.Contains(key, ".."):
			return nil, fmt.Errorf("invalid sysctl %q: want NAME=VALUE", kv)
		case kind == "":
			return nil, fmt.Errorf("sysctl %q belongs to no namespace: it cannot be set for a command alone", key)
		case in.hosts(kind) || in.Joined[kind] != "":
		default:
			set[key] = strings.TrimSpace(value)
		}
	}
	return set, nil
}

// sysctlNamespace is the namespace that a setting belongs to, empty for none.
func sysctlNamespace(key string) specs.LinuxNamespaceType {
	switch {
	case strings.HasPrefix(key, "net."):
		return specs.NetworkNamespace
	case key == "kernel.domainname":
		return specs.UTSNamespace
	case strings.HasPrefix(key, "fs.mqueue."), slices.Contains([]string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem",
		"kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}, key):
		return specs.IPCNamespace
	}
	return ""
}

// hosts tells whether the command shares the host's namespace of a kind.
func (in Input) hosts(kind specs.LinuxNamespaceType) bool {
	return kind == specs.NetworkNamespace && in.HostNetwork || kind == specs.UTSNamespace && in.HostUTS || kind == specs.IPCNamespace && in.HostIPC
}

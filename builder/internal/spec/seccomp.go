package spec

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A rule refuses system calls unless the command has the capability that the kernel wants for them anyway.
type rule struct {
	unless string // capability, "" for never allowed
	names  string
}

// defaultRules is the built-in profile: calls that reach into the kernel's configuration, other namespaces or
// other processes' memory, or that have been the way out of containers before.
func defaultRules() []rule {
	return []rule{
		{"CAP_SYS_ADMIN", `bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
			name_to_handle_at open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns swapoff swapon
			umount umount2 unshare`},
		{"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
		{"CAP_SYS_BOOT", "reboot kexec_load kexec_file_load"},
		{"CAP_SYS_MODULE", "init_module finit_module delete_module create_module query_module get_kernel_syms"},
		{"CAP_SYS_PACCT", "acct"},
		{"CAP_SYS_PTRACE", "kcmp process_vm_readv process_vm_writev process_madvise pidfd_getfd"},
		{"CAP_SYS_RAWIO", "iopl ioperm"},
		{"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64 clock_adjtime adjtimex"},
		{"CAP_SYS_TTY_CONFIG", "vhangup"},
		{"CAP_SYS_NICE", "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"},
		{"", `add_key keyctl request_key userfaultfd uselib ustat sysfs _sysctl nfsservctl vm86 vm86old modify_ldt`},
	}
}

// newNamespaces are the flags that make clone a way to new privileges.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// defaultSeccomp is the profile for a command with those capabilities.
func defaultSeccomp(caps []string) *specs.LinuxSeccomp {
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchAARCH64},
	}
	deny := func(errno uint, names ...string) {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &errno})
	}
	for _, r := range defaultRules() {
		if r.unless == "" || !slices.Contains(caps, r.unless) {
			deny(uint(unix.EPERM), strings.Fields(r.names)...)
		}
	}
	// Programs fall back when these say that they do not exist; a filter cannot look into their arguments.
	deny(uint(unix.ENOSYS), "io_uring_setup", "io_uring_enter", "io_uring_register")
	if !slices.Contains(caps, "CAP_SYS_ADMIN") {
		deny(uint(unix.ENOSYS), "clone3")
		eperm := uint(unix.EPERM)
		for bit := uint64(1); bit < 1<<32; bit <<= 1 {
			if newNamespaces&bit == 0 {
				continue
			}
			p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActErrno, ErrnoRet: &eperm,
				Args: []specs.LinuxSeccompArg{{Index: 0, Value: bit, ValueTwo: bit, Op: specs.OpMaskedEqual}}})
		}
	}
	return p
}

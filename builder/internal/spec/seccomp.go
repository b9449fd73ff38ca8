package spec

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The built-in seccomp profile. What it knows to be harmless is allowed; what it knows to be dangerous is
// refused with EPERM unless the command has the capability that the kernel wants for it anyway; what it does not know, because
// it came later, does not exist (ENOSYS), so that programs fall back to what they did before.

// allowed are the system calls of ordinary programs, on all processors.
func allowed() []string {
	return strings.Fields(`
		open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2
		lseek _llseek dup dup2 dup3 fcntl fcntl64 flock ioctl pipe pipe2 splice tee vmsplice sendfile sendfile64 copy_file_range
		stat fstat lstat stat64 fstat64 lstat64 newfstatat fstatat fstatat64 statx oldstat oldfstat oldlstat access faccessat faccessat2
		statfs fstatfs statfs64 fstatfs64 statmount listmount cachestat getdents getdents64 readdir readlink readlinkat
		chmod fchmod fchmodat fchmodat2 chown fchown lchown chown32 fchown32 lchown32 fchownat umask utime utimes futimesat
		utimensat utimensat_time64 truncate ftruncate truncate64 ftruncate64 fallocate fadvise64 fadvise64_64 arm_fadvise64_64
		readahead sync syncfs fsync fdatasync sync_file_range sync_file_range2 arm_sync_file_range
		link linkat unlink unlinkat rename renameat renameat2 symlink symlinkat mkdir mkdirat rmdir mknod mknodat chdir fchdir getcwd
		getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr flistxattr listxattrat
		removexattr lremovexattr fremovexattr removexattrat name_to_handle_at fanotify_mark
		inotify_init inotify_init1 inotify_add_watch inotify_rm_watch
		landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp

		brk mmap mmap2 munmap mremap mprotect msync madvise mincore mlock mlock2 mlockall munlock munlockall remap_file_pages mseal
		memfd_create memfd_secret membarrier map_shadow_stack pkey_alloc pkey_free pkey_mprotect get_mempolicy process_mrelease

		fork vfork execve execveat exit exit_group wait4 waitid waitpid kill tkill tgkill pidfd_open pidfd_send_signal
		getpid getppid gettid getpgrp getpgid setpgid getsid setsid prctl arch_prctl set_tid_address set_robust_list get_robust_list
		set_thread_area get_thread_area set_tls get_tls breakpoint cacheflush rseq restart_syscall modify_ldt uretprobe ptrace
		getuid geteuid getgid getegid getresuid getresgid getgroups getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32
		getgroups32 setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid setuid32 setgid32 setreuid32
		setregid32 setresuid32 setresgid32 setgroups32 setfsuid32 setfsgid32 capget capset
		getpriority setpriority nice ioprio_get ioprio_set getrlimit ugetrlimit setrlimit prlimit64 getrusage times sysinfo uname olduname
		oldolduname getcpu sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
		sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
		sched_rr_get_interval_time64

		rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64
		rt_tgsigqueueinfo sigaction sigaltstack signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend sgetmask ssetmask
		pause alarm getitimer setitimer time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64
		clock_nanosleep clock_nanosleep_time64 nanosleep timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
		timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
		adjtimex clock_adjtime clock_adjtime64

		futex futex_time64 futex_waitv futex_wake futex_wait futex_requeue eventfd eventfd2 epoll_create epoll_create1 epoll_ctl
		epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64
		io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64
		semget semop semctl semtimedop semtimedop_time64 shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl ipc
		mq_open mq_unlink mq_notify mq_getsetattr mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64

		socketpair bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt shutdown socketcall
		send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 getrandom`)
}

// A gate is a set of system calls for those who have a capability; others get EPERM.
type gate struct {
	needs string // capability, "" for nobody
	names string
}

func gates() []gate {
	return []gate{
		{"CAP_SYS_ADMIN", `bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
			lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd
			setdomainname sethostname setns swapoff swapon umount umount2 unshare`},
		{"CAP_SYSLOG", "syslog"},
		{"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
		{"CAP_SYS_BOOT", "reboot kexec_load kexec_file_load"},
		{"CAP_SYS_CHROOT", "chroot"},
		{"CAP_SYS_MODULE", "init_module finit_module delete_module"},
		{"CAP_SYS_PACCT", "acct"},
		{"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"},
		{"CAP_SYS_RAWIO", "iopl ioperm"},
		{"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
		{"CAP_SYS_TTY_CONFIG", "vhangup"},
		{"CAP_SYS_NICE", "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"},
		{"", `_sysctl add_key bdflush create_module get_kernel_syms keyctl nfsservctl query_module request_key sysfs
			uselib userfaultfd ustat vm86 vm86old`},
	}
}

// newNamespaces are the flags that make clone a way to new privileges.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// defaultSeccomp is the profile for a command with those capabilities on a processor (a GOARCH). Rules on one call exclude each other, since
// runtimes disagree about which of two wins.
func defaultSeccomp(caps []string, goarch string) *specs.LinuxSeccomp {
	enosys := uint(unix.ENOSYS)
	b := profileBuilder{&specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &enosys,
		Architectures: callers(goarch),
	}}
	b.allow(allowed())
	for _, g := range gates() {
		if g.needs != "" && slices.Contains(caps, g.needs) {
			b.allow(strings.Fields(g.names))
		} else {
			b.refuse(unix.EPERM, strings.Fields(g.names))
		}
	}
	b.sockets()
	b.personalities()
	if slices.Contains(caps, "CAP_SYS_ADMIN") {
		b.allow([]string{"clone", "clone3"})
	} else {
		b.clones()
	}
	return b.p
}

// callers are the kinds of system calls that a processor's kernel takes; compiling a filter for others is most of the work of some runtimes.
func callers(goarch string) []specs.Arch {
	switch native := archName(goarch); native {
	case specs.ArchX86_64:
		return []specs.Arch{native, specs.ArchX86}
	case specs.ArchAARCH64:
		return []specs.Arch{native, specs.ArchARM}
	}
	return nil // the runtime's own
}

type profileBuilder struct{ p *specs.LinuxSeccomp }

func (b profileBuilder) allow(names []string, args ...specs.LinuxSeccompArg) {
	b.p.Syscalls = append(b.p.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActAllow, Args: args})
}

func (b profileBuilder) refuse(errno unix.Errno, names []string, args ...specs.LinuxSeccompArg) {
	e := uint(errno)
	b.p.Syscalls = append(b.p.Syscalls, specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &e, Args: args})
}

// sockets allows all families but two that lead out of a container, to the hypervisor and deep into the kernel. The kernel looks at 32 bits of the argument only, so the refusals must as well.
func (b profileBuilder) sockets() {
	socket := []string{"socket"}
	for _, family := range []uint64{unix.AF_ALG, unix.AF_VSOCK} {
		b.refuse(unix.EAFNOSUPPORT, socket, arg0(specs.OpMaskedEqual, 0xffffffff, family))
	}
	b.allow(socket, arg0(specs.OpLessThan, unix.AF_ALG, 0))
	for family := uint64(unix.AF_ALG + 1); family < unix.AF_VSOCK; family++ {
		b.allow(socket, arg0(specs.OpEqualTo, family, 0))
	}
	b.allow(socket, arg0(specs.OpGreaterThan, unix.AF_VSOCK, 0))
}

// personalities allows to ask for the personality and to set those that only change what uname says.
func (b profileBuilder) personalities() {
	const linux32, uname26, ask = 0x8, 0x20000, 0xffffffff
	for _, v := range []uint64{0, linux32, uname26, uname26 | linux32, ask} {
		b.allow([]string{"personality"}, arg0(specs.OpEqualTo, v, 0))
	}
}

// clones allows threads and processes but no namespaces. A filter cannot look into clone3's arguments, which are in
// memory: it does not exist, and programs take clone.
func (b profileBuilder) clones() {
	clone := []string{"clone"}
	for bit := uint64(1); bit < 1<<32; bit <<= 1 {
		if newNamespaces&bit != 0 {
			b.refuse(unix.EPERM, clone, arg0(specs.OpMaskedEqual, bit, bit))
		}
	}
	b.allow(clone, arg0(specs.OpMaskedEqual, newNamespaces, 0))
}

func arg0(op specs.LinuxSeccompOperator, value, two uint64) specs.LinuxSeccompArg {
	return specs.LinuxSeccompArg{Index: 0, Op: op, Value: value, ValueTwo: two}
}

package owners

import "golang.org/x/sys/unix"

// handlers returns the handler of a system call, nil if the call is not ours.
func handlers(nr int32) func(*call) result {
	switch nr {
	case unix.SYS_FCHOWN:
		return fchown
	case unix.SYS_FCHOWNAT:
		return fchownat
	case unix.SYS_FCHMOD:
		return fchmod
	case unix.SYS_FCHMODAT:
		return fchmodat
	case unix.SYS_FCHMODAT2:
		return fchmodat2
	case unix.SYS_MKNODAT:
		return mknodat
	case unix.SYS_MKDIRAT:
		return mkdirat
	case unix.SYS_SYMLINKAT:
		return symlinkat
	case unix.SYS_OPENAT:
		return openat
	case unix.SYS_OPENAT2:
		return open2
	case unix.SYS_FSTAT:
		return fstat
	case sysFstatat:
		return fstatat
	case unix.SYS_STATX:
		return statx
	case unix.SYS_EXECVE:
		return execve
	case unix.SYS_EXECVEAT:
		return execveat
	case unix.SYS_PRCTL:
		return prctl
	case unix.SYS_GETSOCKOPT:
		return getsockopt
	case unix.SYS_CHROOT, unix.SYS_PIVOT_ROOT:
		return chroot
	case unix.SYS_EXIT_GROUP:
		return exitGroup
	}
	for _, calls := range []func(int32) func(*call) result{credentialCalls, attributeCalls} {
		if h := calls(nr); h != nil {
			return h
		}
	}
	return legacy(nr)
}

func credentialCalls(nr int32) func(*call) result {
	switch nr {
	case unix.SYS_SETUID:
		return setuid
	case unix.SYS_SETGID:
		return setgid
	case unix.SYS_SETREUID:
		return setreuid
	case unix.SYS_SETREGID:
		return setregid
	case unix.SYS_SETRESUID:
		return setresuid
	case unix.SYS_SETRESGID:
		return setresgid
	case unix.SYS_SETFSUID:
		return setfsuid
	case unix.SYS_SETFSGID:
		return setfsgid
	case unix.SYS_SETGROUPS:
		return setgroups
	case unix.SYS_GETUID:
		return getuid
	case unix.SYS_GETEUID:
		return geteuid
	case unix.SYS_GETGID:
		return getgid
	case unix.SYS_GETEGID:
		return getegid
	case unix.SYS_GETRESUID:
		return getresuid
	case unix.SYS_GETRESGID:
		return getresgid
	case unix.SYS_GETGROUPS:
		return getgroups
	}
	return nil
}

// lastCall bounds the search for the calls that the filter names.
const lastCall = 512

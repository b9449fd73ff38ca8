package runner

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Self opens this program for a child to be started from, as a file that nothing in a container can open for writing: through a mount
// of its own that is read-only and attached nowhere, or, where that is refused, as a sealed copy in memory. A container can reach
// the executable of its first process, by /proc/1/exe or as the interpreter "#!/proc/self/exe" of its command (CVE-2019-5736), and
// some kernels let running executables be written to.
//
// The descriptor is above those that children get. The caller closes the file when the child has been started.
//
// With anyone the file can be started by users other than its own.
func Self(anyone bool) (*os.File, error) {
	f, err := readOnlySelf()
	if err == nil && anyone {
		err = startable(f)
	}
	if err != nil {
		f, err = copiedSelf()
	}
	if err != nil {
		return nil, fmt.Errorf("opening the program for the command's first process: %w", err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, aboveChildren())
	name := f.Name()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// startable closes a file that others may not start.
func startable(f *os.File) error {
	st, err := f.Stat()
	if err == nil && st.Mode()&0o005 != 0o005 {
		err = errors.New("others may not start this program")
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// aboveChildren is above the descriptors of a child, which take the place of others while it starts, and within the limit.
func aboveChildren() int {
	const wanted = 512
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur <= wanted {
		return int(limit.Cur / 2)
	}
	return wanted
}

const exe = "/proc/self/exe"

// readOnlySelf clones the mount. In a namespace that was entered since, the link leads to the former one's mount, so that the name
// must lead there as well.
func readOnlySelf() (*os.File, error) {
	name, err := os.Readlink(exe)
	if err != nil {
		return nil, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV})
	var found, running os.FileInfo
	if err == nil {
		found, err = f.Stat()
	}
	if err == nil {
		running, err = os.Stat(exe)
	}
	if err == nil && !os.SameFile(found, running) { // replaced since we were started
		err = errors.New("another program has its name")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// copiedSelf copies the program.
func copiedSelf() (*os.File, error) {
	fd, err := unix.MemfdCreate("slipway", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before 6.3
		fd, err = unix.MemfdCreate("slipway", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "slipway")
	from, err := os.Open(exe)
	if err == nil {
		_, err = io.Copy(f, from)
		err = errors.Join(err, from.Close())
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Path is the name that a file can be started by from this process.
func Path(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

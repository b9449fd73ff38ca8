package runchild

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctls sets kernel settings of the command's own namespaces, and returns those that are out of reach here: they are defaults of
// the host, which a pod with a read-only /proc/sys does without. open opens a path below /proc/sys.
func sysctls(set map[string]string, open func(name string) (*os.File, error)) (missed []string, err error) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		f, err := open("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
		if err == nil {
			err = writeSysctl(f, set[key])
		}
		for _, out := range []error{unix.ENOENT, unix.EROFS, unix.EPERM, unix.EACCES} {
			if errors.Is(err, out) {
				missed = append(missed, key)
				err = nil
			}
		}
		if err != nil {
			return missed, fmt.Errorf("setting sysctl %s to %q: %w", key, set[key], err)
		}
	}
	return missed, nil
}

// writeSysctl writes to a file that must be the kernel's, whatever is mounted where it was looked for (CVE-2025-52881).
func writeSysctl(f *os.File, value string) error {
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Type != unix.PROC_SUPER_MAGIC {
		return errors.New("it is not the kernel's file")
	}
	_, err := f.WriteString(value)
	return err
}

// sysctls sets those of a native run, through the /proc that the command gets.
func (b *rootBuilder) sysctls(set map[string]string) ([]string, error) {
	return sysctls(set, func(name string) (*os.File, error) {
		p, err := b.root.OpenPath(name)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		return os.OpenFile(fdPath(p), os.O_WRONLY|unix.O_NONBLOCK, 0)
	})
}

package builder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/containers/storage/pkg/idmap"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	ids "github.com/slipway-build/slipway/internal/idmap"
)

// Commands with a user namespace of their own: nothing below a directory of the host that only its root may search can be reached by path
// there, and who owns files on disk is nobody. So all that a command sees is handed over as detached mounts, with its owners shifted where they are
// meant to be the container's.

// runIDs are the maps of commands' user namespace, or nil for the caller's.
func (w *Workspace) runIDs() (*ids.IDs, error) {
	switch {
	case w.shifted != nil:
		return w.shifted, nil
	case w.users != nil:
		return w.users, nil
	case w.ownUsers && !oneID(): // with one id, another namespace of it would be the same
		return ownIDs()
	}
	return nil, nil //nolint:nilnil // the caller's is no error
}

func mappings(of *ids.IDs, groups bool) (list []specs.LinuxIDMapping) {
	if of == nil {
		return nil
	}
	m := of.UIDs
	if groups {
		m = of.GIDs
	}
	for _, r := range m {
		list = append(list, specs.LinuxIDMapping{ContainerID: r.Container, HostID: r.Host, Size: r.Size})
	}
	return list
}

// errNotShifted says that a file system cannot be shown with other owners.
var errNotShifted = errors.New("the file system cannot show other owners (an id-mapped mount)")

// A shifter shows mounts with the owners of a container. It makes the user namespace that says how when first asked.
type shifter struct {
	ids *ids.IDs
	ns  *os.File
}

func newShifter(of *ids.IDs) *shifter { return &shifter{ids: of} }

func (s *shifter) close() error {
	if s.ns == nil {
		return nil
	}
	return s.ns.Close()
}

// apply shifts the owners of a detached mount. The error is errNotShifted if that cannot be had.
func (s *shifter) apply(tree *os.File) error {
	if s.ids == nil {
		return nil
	}
	if s.ns == nil {
		pid, done, err := idmap.CreateUsernsProcess(toStorage(s.ids.UIDs), toStorage(s.ids.GIDs))
		if err != nil {
			return fmt.Errorf("making a user namespace: %w", err)
		}
		s.ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
		done()
		if err != nil {
			return fmt.Errorf("making a user namespace: %w", err)
		}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(s.ns.Fd())}
	err := unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr)
	for _, refused := range []error{unix.EINVAL, unix.EPERM, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, refused) {
			return fmt.Errorf("%s: %w: %w", tree.Name(), errNotShifted, err)
		}
	}
	return err
}

// reachable makes a command that has a user namespace of its own find its root file system, whose number among the trees it returns (0 without such
// a namespace), and what is bound from paths of the host.
func (c *commanded) reachable(s *specs.Spec, mountpoint string) (int, error) {
	if c.ids == nil {
		return 0, nil
	}
	for i, m := range s.Mounts {
		if m.Type != "bind" || !filepath.IsAbs(m.Source) || kernels(m.Source) {
			continue
		}
		f, err := os.OpenFile(m.Source, unix.O_PATH, 0)
		if err != nil {
			return 0, err
		}
		if s.Mounts[i].Source, err = c.mounts.tree(Mount{Type: "bind"}, f); err != nil {
			return 0, err
		}
		if !strings.HasPrefix(m.Source, c.dir+"/") {
			continue
		}
		err = c.mounts.shift.apply(c.mounts.trees[len(c.mounts.trees)-1])
		if errors.Is(err, errNotShifted) {
			err = c.give(m.Source)
		}
		if err != nil {
			return 0, fmt.Errorf("preparing %s: %w", m.Destination, err)
		}
	}
	if c.w.tree != nil {
		c.mounts.trees = append(c.mounts.trees, c.w.tree)
		return len(c.mounts.trees), nil
	}
	f, err := os.OpenFile(mountpoint, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return 0, err
	}
	if _, err := c.mounts.tree(Mount{Type: "bind"}, f); err != nil {
		return 0, err
	}
	return len(c.mounts.trees), nil
}

// kernels tells whether a path is of a file system that everybody may walk to, and whose owners are nobody's business.
func kernels(name string) bool {
	return strings.HasPrefix(name, "/dev/") || strings.HasPrefix(name, "/proc/") || name == "/sys" || strings.HasPrefix(name, "/sys/") || name == "/proc"
}

// give makes the container's root the owner of what was made for the command.
func (c *commanded) give(name string) error {
	return filepath.Walk(name, func(file string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		raw, ok := st.Sys().(*syscall.Stat_t)
		if !ok {
			return errNotShifted
		}
		uid, gid, err := c.ids.Outside(int(raw.Uid), int(raw.Gid))
		if err != nil {
			return err
		}
		return os.Lchown(file, uid, gid)
	})
}

// ownPipes lets the command open its streams again (/dev/stdout), where they are pipes: they are made the command's own, as its first process cannot
// do that for a file of the host. What it returns waits until all is written.
func (c *commanded) ownPipes(job *runner.Job) (done func(), err error) {
	uid, gid, err := c.ids.Outside(int(c.mounts.user.UID), int(c.mounts.user.GID))
	if err != nil {
		return nil, fmt.Errorf("the command's %w", err)
	}
	var waits []func()
	done = func() {
		for _, w := range waits {
			w()
		}
	}
	one := func(to io.Writer) (io.Writer, error) {
		if f, ok := to.(*os.File); ok || to == nil {
			if st, err := f.Stat(); ok && err == nil && st.Mode()&os.ModeNamedPipe != 0 {
				_ = f.Chown(uid, gid)
			}
			return to, nil
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if err := w.Chown(uid, gid); err != nil {
			return nil, errors.Join(err, r.Close(), w.Close())
		}
		ended := make(chan struct{})
		go func() {
			_, _ = io.Copy(to, r) // who reads has gone: so does the pipe
			r.Close()
			close(ended)
		}()
		waits = append(waits, func() {
			w.Close()
			_ = r.SetReadDeadline(time.Now().Add(time.Second)) // of a process that was left in the host's pid namespace nothing more is awaited
			<-ended
		})
		return w, nil
	}
	same := job.Stdout != nil && reflect.ValueOf(job.Stdout).Comparable() && job.Stdout == job.Stderr
	if job.Stdout, err = one(job.Stdout); err != nil {
		return nil, err
	}
	if same {
		job.Stderr = job.Stdout
	} else if job.Stderr, err = one(job.Stderr); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

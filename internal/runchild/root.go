package runchild

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// rootBuilder makes the container's view of the file system and remembers what it made to mount on.
type rootBuilder struct {
	root    *rootfs.Root
	null    *os.File // the host's /dev/null, pinned before anything is mounted
	points  *Points
	foreign bool     // /proc is of a PID namespace that was joined: no other can stand in for it
	trees   int      // the first detached mount
	stage   *os.File // a file system in memory for files, if not at a path of the host
	missed  []string
}

// buildRoot mounts everything below the root file system and makes it the root of this process. Every
// target is resolved inside the root to a descriptor and mounted on through that (CVE-2021-30465).
func buildRoot(req *Request, hooked func() error) (*rootBuilder, error) {
	b := &rootBuilder{points: &Points{}, trees: req.FirstTree, foreign: req.JoinedPID}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return b, fmt.Errorf("separating mounts from the host's: %w", err)
	}
	if err := b.bindRoot(req); err != nil {
		return b, fmt.Errorf("binding the root file system: %w", err)
	}
	// A device that a layer brings along must not open the host's disk. Who may make devices needs no layer for it.
	if req.Caps&(1<<unix.CAP_MKNOD) == 0 {
		err := unix.MountSetattr(unix.AT_FDCWD, req.Root, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV})
		if err != nil {
			return b, fmt.Errorf("making devices of the root file system unusable: %w", err)
		}
	}
	var err error
	if b.null, err = os.OpenFile("/dev/null", unix.O_PATH, 0); err != nil {
		return b, err
	}
	defer b.null.Close()
	if b.root, err = rootfs.Open(req.Root, rootfs.Ignore); err != nil {
		return b, err
	}
	defer b.root.Close()
	if b.points, err = NewPoints(b.root); err != nil {
		return b, fmt.Errorf("examining the root file system: %w", err)
	}
	if err := b.populate(req); err != nil {
		return b, err
	}
	if err := hooked(); err != nil {
		return b, err
	}
	if err := RunHooks("createContainer", req.CreateContainer, req.State.At("creating", os.Getpid()), nil, nil); err != nil {
		return b, err
	}
	if req.NoPivot {
		return b, cover(req.Root)
	}
	return b, pivot(req.Root)
}

// populate mounts what the command sees below its root, and takes away what it is not to see or change.
func (b *rootBuilder) populate(req *Request) (err error) {
	for _, m := range req.Mounts {
		if err := b.mount(m); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.Source, m.Target, err)
		}
		if m.Target == "/dev" && m.Flags&unix.MS_BIND == 0 { // a directory of the caller's is left as it is
			if err := b.devices(req.Devices); err != nil {
				return fmt.Errorf("making devices: %w", err)
			}
		}
	}
	if err := b.files(req); err != nil {
		return err
	}
	if b.missed, err = b.sysctls(req.Sysctls); err != nil {
		return err
	}
	for _, p := range req.ReadOnly {
		if err := b.readOnly(p); err != nil {
			return fmt.Errorf("making %s read-only: %w", p, err)
		}
	}
	for _, p := range req.Masked {
		if err := b.mask(p); err != nil {
			return fmt.Errorf("masking %s: %w", p, err)
		}
	}
	return nil
}

// bindRoot mounts the root file system. As root of a user namespace we may not walk to where it is on the host: it was handed to us, and is
// mounted over the host's root, which stays where paths of the host begin.
func (b *rootBuilder) bindRoot(req *Request) (err error) {
	if req.RootTree == 0 {
		return unix.Mount(req.Root, req.Root, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if len(req.Files) > 0 { // first: what is mounted later covers it
		if b.stage, err = aside(req.MountLabel); err != nil {
			return fmt.Errorf("making a place in memory: %w", err)
		}
	}
	fd := b.trees + req.RootTree - 1
	req.Root = "/proc/self/fd/" + strconv.Itoa(fd)
	return overRoot(fd)
}

// overRoot mounts a detached tree over the host's root.
func overRoot(fd int) error {
	return unix.MoveMount(fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// cover moves the root over the old one, which stays below, out of reach: the way up from the new root leads to what is
// mounted uppermost on the old one, the new root itself.
func cover(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	return unix.Chdir("/")
}

// pivot makes dir the root and lets go of the old one.
func pivot(dir string) error {
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Mount("", ".", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("letting go of the old root: %w", err)
	}
	return unix.Chdir("/")
}

func fdPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// mount mounts one thing. Where a fresh kernel file system is refused, as in nested user namespaces, the
// host's is bound instead.
func (b *rootBuilder) mount(m Mount) error {
	dir := true
	var src *os.File
	if m.Tree != 0 {
		return b.tree(m, b.trees+m.Tree-1)
	}
	if m.Type == "cgroup" {
		if !oneHierarchy() {
			return nil // controllers, which mounting the older kind could take away from the host
		}
		m.Type = "cgroup2"
	}
	if m.Flags&unix.MS_BIND != 0 {
		var err error
		if src, err = os.OpenFile(m.Source, unix.O_PATH, 0); err != nil {
			return err
		}
		defer src.Close()
		st, err := src.Stat()
		if err != nil {
			return err
		}
		dir = st.IsDir()
		if st.Mode()&os.ModeDevice != 0 {
			m.Flags |= unix.MS_RDONLY // data flows all the same, but the mode and owner of the host's node are out of reach
		}
	}
	target, err := b.target(m.Target, dir)
	if err != nil {
		return err
	}
	defer target.Close()
	if src != nil {
		return bind(fdPath(src), m, target)
	}
	err = unix.Mount(m.Source, fdPath(target), m.Type, m.Flags, m.Data)
	if errors.Is(err, unix.EPERM) && (m.Type == "proc" && !b.foreign || m.Type == "sysfs") {
		m.Source = map[string]string{"proc": "/proc", "sysfs": "/sys"}[m.Type]
		m.Flags = m.Flags&unix.MS_RDONLY | unix.MS_BIND | unix.MS_REC
		return bind(m.Source, m, target)
	}
	if errors.Is(err, unix.EINVAL) && m.Type == "devpts" {
		err = unix.Mount(m.Source, fdPath(target), m.Type, m.Flags, strings.ReplaceAll(m.Data, ",gid=5", "")) // which is not mapped
	}
	if (m.Type == "mqueue" || m.Type == "cgroup2") && err != nil {
		return nil // kernels without it, and namespaces that may not
	}
	return err
}

// oneHierarchy tells whether the host has one hierarchy of cgroups.
func oneHierarchy() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// tree mounts what the parent has pinned. An overlay needs its lower directory mounted in this namespace: it is, below the
// overlay itself.
func (b *rootBuilder) tree(m Mount, fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		m.Flags |= unix.MS_RDONLY // as in mount
	}
	target, err := b.target(m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := attach(fd, m, target); err != nil || m.Type != "overlay" {
		return err
	}
	lower, err := b.root.OpenPath(m.Target)
	if err != nil {
		return err
	}
	defer lower.Close()
	data := "lowerdir=" + fdPath(lower)
	for _, d := range [][2]string{{"upperdir", m.Upper}, {"workdir", m.Work}} {
		f, err := os.OpenFile(d[1], unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		data += "," + d[0] + "=" + fdPath(f)
	}
	if m.Data != "" {
		data += "," + m.Data
	}
	return unix.Mount("overlay", fdPath(lower), "overlay", m.Flags, data)
}

// bind binds src on target and then sets the attributes asked for, keeping those that are locked.
func bind(src string, m Mount, target *os.File) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, src, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|recursive(m.Flags))
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return attach(tree, m, target)
}

// attach mounts a detached tree with the attributes asked for.
func attach(tree int, m Mount, target *os.File) error {
	attr := unix.MountAttr{Propagation: uint64(m.Propagation)}
	for ms, set := range map[uintptr]uint64{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID,
		unix.MS_NODEV: unix.MOUNT_ATTR_NODEV, unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC,
	} {
		if m.Flags&ms != 0 {
			attr.Attr_set |= set
		}
	}
	if attr != (unix.MountAttr{}) {
		if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|recursive(m.Flags), &attr); err != nil {
			return fmt.Errorf("setting mount attributes: %w", err)
		}
	}
	return unix.MoveMount(tree, "", int(target.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

func recursive(flags uintptr) uint {
	if flags&unix.MS_REC != 0 {
		return unix.AT_RECURSIVE
	}
	return 0
}

// target opens what is to be mounted on, and makes it, with its parents, if it is not there.
func (b *rootBuilder) target(name string, dir bool) (*os.File, error) {
	if err := b.points.Make(name, dir); err != nil {
		return nil, err
	}
	return b.root.OpenPath(name)
}

// devices fills the fresh /dev. Nodes are made where that is permitted, else the host's are bound.
func (b *rootBuilder) devices(extra []string) error {
	dev, err := b.root.Dir("/dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	for name, minor := range map[string]uint32{"null": 1<<16 | 3, "zero": 1<<16 | 5, "full": 1<<16 | 7, "random": 1<<16 | 8, "urandom": 1<<16 | 9, "tty": 5 << 16} {
		err := unix.Mknodat(dev.Fd(), name, unix.S_IFCHR|0o666, int(unix.Mkdev(minor>>16, minor&0xffff)))
		if err == nil {
			err = dev.Chmod(name, 0o666)
		} else {
			err = b.mount(Mount{Source: "/dev/" + name, Target: "/dev/" + name, Flags: unix.MS_BIND})
		}
		if err != nil {
			return fmt.Errorf("/dev/%s: %w", name, err)
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx", "core": "/proc/kcore"} {
		if err := dev.Symlink(target, name); err != nil {
			return err
		}
	}
	for _, d := range extra {
		if err := b.mount(Mount{Source: d, Target: d, Flags: unix.MS_BIND}); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	return nil
}

// readOnly binds a path on itself, read-only. What is not there needs no protection.
func (b *rootBuilder) readOnly(name string) error {
	f, err := b.root.OpenPath(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return bind(fdPath(f), Mount{Flags: unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY}, f)
}

// mask hides a path: a directory under an empty read-only file system, a file under /dev/null.
func (b *rootBuilder) mask(name string) error {
	f, err := b.root.OpenPath(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		return unix.Mount("tmpfs", fdPath(f), "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=0k,mode=0555")
	}
	// Read-only, or root in the container could change the mode of the host's /dev/null through it.
	return bind(fdPath(b.null), Mount{Flags: unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOEXEC}, f)
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/mounts"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// A Mount is one mount that a command asked for.
type Mount = mounts.Mount

// ParseMount reads one value of --mount (cli.md §8.14, dockerfile.md §5.5). expand, which may be nil, replaces the
// variables in values.
func ParseMount(text string, expand func(string) (string, error)) (Mount, error) {
	m, err := mounts.Parse(text, expand)
	if err != nil {
		return m, fmt.Errorf("invalid mount %q: %w", text, err)
	}
	return m, nil
}

// ParseVolume reads one value of --volume (cli.md §8.15).
func ParseVolume(text string) (Mount, error) { return mounts.Volume(text) }

// mounting turns the mounts of one command into those of a specification. Whatever a mount needs on the host is pinned
// by a descriptor before it is used, so that nobody can put something else in its place (CVE-2024-1753, CVE-2024-11218).
type mounting struct {
	w     *Workspace
	root  *rootfs.Root // the container's
	label string       // for what is made for the command
	o     RunOptions
	user  spec.User
	dir   string // working directory of the command
	job   string // private directory for as long as the command runs
	list  []specs.Mount
	trees []*os.File // what is bound: see runner.Job
	files []runner.File
	env   []string
	names []string // targets, to find doubles
	// ids are the maps of the command's user namespace, nil for none; shift applies them to mounts.
	ids   *idmap.IDs
	shift *shifter
	// detached has file systems in memory made before the runner mounts them.
	detached bool
	undo     []func() error // in reverse order
	// caches are those that this command holds already, by key.
	caches map[string]string
	// agents counts the agents; the first one's socket is announced.
	agents int
	socket string
}

// mount prepares all mounts of a command: those of box and its own. The caller calls close, also after an error.
func (p *mounting) mount(ctx context.Context, box Sandbox) error {
	asked, err := p.hostMounts(box.Volumes, box.Mounts)
	if err != nil {
		return err
	}
	defaults, err := p.hostMounts(box.DefaultVolumes, box.DefaultMounts)
	if err != nil {
		return fmt.Errorf("containers.conf: %w", err)
	}
	for _, m := range append(asked, p.o.Mounts...) {
		if m, err = m.At(p.dir, p.agents); err != nil {
			return err
		}
		if m.Target != "" && slices.Contains(p.names, m.Target) {
			return fmt.Errorf("%s is mounted on twice", m.Target)
		}
		if err := p.one(ctx, m); err != nil {
			return err
		}
	}
	for _, m := range defaults {
		if m, err = m.At(p.dir, p.agents); err != nil {
			return err
		}
		if slices.Contains(p.names, m.Target) {
			continue
		}
		if err := p.one(ctx, m); err != nil {
			return fmt.Errorf("containers.conf: %w", err)
		}
	}
	return nil
}

// hostMounts reads volumes, and values of --mount that bind paths of the host.
func (p *mounting) hostMounts(volumes, values []string) (list []Mount, err error) {
	for _, v := range volumes {
		m, err := mounts.Volume(v)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	for _, text := range values {
		m, err := ParseMount(text, nil)
		if err != nil {
			return nil, err
		}
		m.Host = m.Type == "bind" && m.From == ""
		list = append(list, m)
	}
	return list, nil
}

// one prepares one mount, and notes its target.
func (p *mounting) one(ctx context.Context, m Mount) error {
	p.names = append(p.names, m.Target)
	if err := p.typed(ctx, m); err != nil {
		return fmt.Errorf("%s mount on %s: %w", m.Type, first(m.Target, "$"+m.Env), err)
	}
	return nil
}

func (p *mounting) typed(ctx context.Context, m Mount) error {
	switch m.Type {
	case "bind":
		return p.bind(ctx, m)
	case "cache":
		return p.cache(ctx, m)
	case "secret":
		return p.secret(m)
	case "ssh":
		return p.agent(m)
	}
	return p.memory(ctx, m)
}

// close takes back what the mounts needed.
func (p *mounting) close() error {
	var errs []error
	for _, f := range slices.Backward(p.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// tree makes a mount of an open file or directory, which a runner attaches wherever it likes, and returns the name it
// goes by. It closes f.
func (p *mounting) tree(m Mount, f *os.File) (string, error) {
	defer f.Close()
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH)
	if m.Recursive() {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return "", fmt.Errorf("binding %s: %w", f.Name(), err)
	}
	t := os.NewFile(uintptr(fd), f.Name())
	p.undo = append(p.undo, t.Close)
	p.trees = append(p.trees, t)
	return runner.TreePath(len(p.trees) - 1), nil
}

// attach binds an open file or directory, and closes it.
func (p *mounting) attach(m Mount, f *os.File) error {
	source, err := p.tree(m, f)
	if err != nil {
		return err
	}
	p.list = append(p.list, p.bound(m, source))
	return nil
}

// attachOurs binds what is no path of the host, so that its owners mean the container's. It closes f; the error is errNotShifted if the file
// system cannot show them so.
func (p *mounting) attachOurs(m Mount, f *os.File) error {
	source, err := p.tree(m, f)
	if err != nil {
		return err
	}
	if err := p.shift.apply(p.trees[len(p.trees)-1]); err != nil {
		return err
	}
	p.list = append(p.list, p.bound(m, source))
	return nil
}

// bound is the bind mount that m asks for.
func (p *mounting) bound(m Mount, source string) specs.Mount {
	options := []string{"rbind"}
	if !m.Recursive() {
		options[0] = "bind"
	}
	for _, o := range m.Options {
		if o != "bind" && o != "rbind" {
			options = append(options, o)
		}
	}
	// Files of a context, an image or a stage may be devices of the host: only what was asked for as a device is one.
	if !slices.Contains(options, "dev") && !slices.Contains(options, "nodev") {
		options = append(options, deviceOption(m))
	}
	if !slices.ContainsFunc(options, isPropagation) {
		options = append(options, "rprivate")
	}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	return specs.Mount{Destination: m.Target, Type: "bind", Source: source, Options: options}
}

func deviceOption(m Mount) string {
	if m.Host && (m.Source == "/dev" || strings.HasPrefix(m.Source, "/dev/")) {
		return "dev"
	}
	return "nodev"
}

func isPropagation(o string) bool {
	return strings.HasSuffix(o, "private") || strings.HasSuffix(o, "slave") || strings.HasSuffix(o, "shared")
}

// bind prepares a bind mount. Volumes, and the sources of `run` without a context, are paths of the host and written to
// when rw; what comes from a context, a stage or an image is never changed: writes are thrown away.
func (p *mounting) bind(ctx context.Context, m Mount) error {
	if m.Host || m.From == "" && p.o.Context == nil {
		return p.hostPath(m)
	}
	root, ignore, err := p.source(ctx, m.From)
	if err != nil {
		return err
	}
	source := first(m.Source, "/")
	f, err := pin(root, source, m.Has("no-dereference"))
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	hidden, err := ignored(root, source, ignore)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	writable := !m.ReadOnly || m.Has("U")
	switch {
	case !hidden && !writable:
		if err := p.attachOurs(m, f); !errors.Is(err, errNotShifted) {
			return err
		}
	case !hidden && !m.Has("U") && st.IsDir() && p.w.s.st.GraphDriverName() == "overlay" && p.ids == nil:
		return p.overlay(m, f)
	default:
		f.Close()
	}
	return p.copied(ctx, m, root, source, ignore)
}

// pin opens a source inside its root.
func pin(root *rootfs.Root, source string, noLinks bool) (*os.File, error) {
	if i, err := root.Lstat(source); err == nil && noLinks && i.IsSymlink() {
		return nil, fmt.Errorf("%q is a symbolic link, which cannot be mounted: leave out no-dereference", source)
	}
	f, err := root.OpenPath(source)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%q: not found: no such file or directory", source)
	}
	return f, err
}

// source opens what mounts are taken from. A root that was opened for this mount is closed with the others.
func (p *mounting) source(ctx context.Context, from string) (*rootfs.Root, *copier.Ignore, error) {
	if from == "" {
		ignore, err := copier.ReadIgnore(p.o.IgnoreFile)
		return p.o.Context, ignore, err
	}
	open := p.o.Open
	if open == nil {
		open = p.w.s.openImage
	}
	src, err := open(ctx, from)
	if err != nil {
		return nil, nil, err
	}
	p.undo = append(p.undo, src.Close)
	ignore, err := copier.ReadIgnore(src.IgnoreFile)
	return src.Root, ignore, err
}

// openImage opens the file system of an image, pulled if it is not there.
func (s *Store) openImage(ctx context.Context, name string) (MountSource, error) {
	img, err := s.Pull(ctx, name, PullOptions{})
	if err != nil {
		return MountSource{}, err
	}
	root, done, err := img.Open()
	return MountSource{Root: root, Close: done}, err
}

// ignored tells whether the ignore file hides anything in a source: it is not part of the context then
// (decisions: dockerfile.md §19.15).
func ignored(root *rootfs.Root, name string, ignore *copier.Ignore) (bool, error) {
	if ignore == nil {
		return false, nil
	}
	name = path.Clean("/" + name)
	if name != "/" && ignore.Excluded(name[1:]) {
		return true, nil
	}
	i, err := root.Lstat(name)
	if err != nil || !i.IsDir() {
		return false, err
	}
	d, err := root.Dir(name)
	if err != nil {
		return false, err
	}
	names, err := d.ReadDir()
	if err = errors.Join(err, d.Close()); err != nil {
		return false, err
	}
	for _, n := range names {
		if hidden, err := ignored(root, path.Join(name, n), ignore); hidden || err != nil {
			return hidden, err
		}
	}
	return false, nil
}

// hostPath binds a path that the caller of the program chose.
func (p *mounting) hostPath(m Mount) error {
	name := m.Source
	if !filepath.IsAbs(name) {
		return fmt.Errorf("the source of a bind mount must be an absolute path, not %q", name)
	}
	f, err := os.OpenFile(name, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	if err := p.relabel(m, f.Name()); err != nil {
		return errors.Join(err, f.Close())
	}
	if m.Has("U") {
		uid, gid, err := p.ids.Outside(int(p.user.UID), int(p.user.GID))
		if err == nil {
			err = chownTree(f, uid, gid)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("changing the owner of %s: %w", name, err), f.Close())
		}
	}
	if m.Has("O") {
		if p.ids != nil {
			return errors.Join(errors.New("option O cannot be had in a user namespace of the container's own: leave it out, or copy the files"), f.Close())
		}
		return p.overlay(m, f)
	}
	if err := p.attach(m, f); err != nil || !m.Has("idmap") {
		return err
	}
	return p.mapOwners(m.IDMap)
}

// mapOwners shows the last tree with other owners: those that text names, or with none as if they were the container's.
func (p *mounting) mapOwners(text string) error {
	shift := p.shift
	switch {
	case text != "":
		said, err := mounts.Owners(text)
		if err != nil {
			return err
		}
		if said, err = p.outside(said); err != nil {
			return err
		}
		shift = newShifter(&said)
		p.undo = append(p.undo, shift.close)
	case p.ids == nil:
		return errors.New("option idmap shows owners as the container's user namespace has them: give the container one (--userns-uid-map), or say idmap=uids=OWNER-CONTAINER-LENGTH")
	}
	err := shift.apply(p.trees[len(p.trees)-1])
	if errors.Is(err, errNotShifted) {
		err = fmt.Errorf("option idmap needs root and a file system that can do it, also for all that is mounted below: %w", err)
	}
	return err
}

// outside replaces the container's numbers in maps from owners to them by the host's.
func (p *mounting) outside(said idmap.IDs) (idmap.IDs, error) {
	if p.ids == nil {
		return said, nil
	}
	for _, m := range []struct{ said, own idmap.Map }{{said.UIDs, p.ids.UIDs}, {said.GIDs, p.ids.GIDs}} {
		for i, r := range m.said {
			first, ok := m.own.Outside(r.Host)
			last, also := m.own.Outside(r.Host + r.Size - 1)
			if !ok || !also || last-first != r.Size-1 {
				return said, fmt.Errorf("option idmap: the container has no ids from %d to %d in one piece", r.Host, r.Host+r.Size-1)
			}
			m.said[i].Host = first
		}
	}
	return said, nil
}

// relabel gives a source the label of the container, or one that all containers share.
func (p *mounting) relabel(m Mount, name string) error {
	if !selinux.GetEnabled() || !m.Has("z") && !m.Has("Z") {
		return nil
	}
	return label.Relabel(name, p.w.about.mountLabel, m.Has("z"))
}

// chownTree changes the owner of a tree, or a file, through descriptors.
func chownTree(f *os.File, uid, gid int) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH)
	}
	root, err := rootfs.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), rootfs.Apply)
	if err != nil {
		return err
	}
	defer root.Close()
	d, err := root.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	return chownDir(d, uid, gid)
}

func chownDir(d *rootfs.Dir, uid, gid int) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, n := range names {
		i, err := d.Lstat(n)
		if err != nil {
			return err
		}
		if !i.IsDir() {
			if err := d.Chown(n, uid, gid); err != nil {
				return err
			}
			continue
		}
		sub, err := d.Dir(n)
		if err != nil {
			return err
		}
		err = chownDir(sub, uid, gid)
		if err = errors.Join(err, sub.Close()); err != nil {
			return err
		}
	}
	return unix.Fchown(d.Fd(), uid, gid)
}

// overlay mounts a directory so that writes go to another one: the caller's, or one that is thrown away. It looks like
// the source at the mount point (exact.md on cli.md §8.15).
func (p *mounting) overlay(m Mount, lower *os.File) error {
	upper, work := m.Upper, m.Work
	if upper == "" {
		dir, err := p.scratch()
		if err != nil {
			return errors.Join(err, lower.Close())
		}
		upper, work = filepath.Join(dir, "upper"), filepath.Join(dir, "work")
		if err := errors.Join(os.Mkdir(upper, 0o700), os.Mkdir(work, 0o700)); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(lower.Fd()), &st); err != nil {
			return err
		}
		if err := errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, st.Mode&0o7777)); err != nil {
			return err
		}
	}
	source, err := p.tree(m, lower)
	if err != nil {
		return err
	}
	options := []string{"lowerdir=" + source, "upperdir=" + upper, "workdir=" + work}
	if rootless() {
		options = append(options, "userxattr")
	}
	if m.ReadOnly {
		options = append(options, "ro")
	}
	for _, o := range m.Options {
		if o != "bind" && o != "rbind" && !isPropagation(o) {
			options = append(options, o)
		}
	}
	p.list = append(p.list, specs.Mount{Destination: m.Target, Type: "overlay", Source: "overlay", Options: options})
	return nil
}

// scratch is a directory in the storage, where an overlay can have its upper directory.
func (p *mounting) scratch() (string, error) {
	base, err := p.w.s.dir("tmp")
	if err != nil {
		return "", err
	}
	dir, done, err := p.w.s.scratchIn(base)
	if err != nil {
		return "", err
	}
	p.undo = append(p.undo, done)
	return dir, nil
}

// copied mounts a copy of a source, without what the ignore file hides.
func (p *mounting) copied(ctx context.Context, m Mount, root *rootfs.Root, source string, ignore *copier.Ignore) error {
	dir, err := p.scratch()
	if err != nil {
		return err
	}
	dst, err := rootfs.OpenMapped(dir, p.w.s.own, p.ids)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, dst.Close)
	o := copier.Options{KeepOwner: true, Top: true, Ignore: ignore, NoDigest: true, NoWildcard: true}
	if m.Has("U") {
		uid, gid := int(p.user.UID), int(p.user.GID)
		o.UID, o.GID, o.KeepOwner = &uid, &gid, false
	}
	if _, err := copier.Copy(ctx, dst, "/data", root, []string{source}, o); err != nil {
		return err
	}
	f, err := dst.OpenPath("/data")
	if err != nil {
		return err
	}
	return p.attach(m, f)
}

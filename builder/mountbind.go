package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// bind prepares a bind mount. Volumes, and the sources of `run` without a context, are paths of the host and written to
// when rw; what comes from a context, a stage or an image is never changed: writes are thrown away.
func (p *mounting) bind(ctx context.Context, m Mount) error {
	if m.Host || m.From == "" && p.o.Context == nil {
		return p.hostPath(m)
	}
	src, err := p.source(ctx, m.From)
	if err != nil {
		return err
	}
	source := first(m.Source, "/")
	f, err := pin(src.root, source, m.Has("no-dereference"))
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	hidden, err := ignored(src.root, source, src.ignore)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	var theirs owner
	if src.rootOwns && !hidden {
		if theirs, err = ownerOf(src.root, source); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	writable := !m.ReadOnly || m.Has("U")
	mode := uint32(st.Mode().Perm())
	closed := src.top(source) && mode|openTop != mode
	switch {
	case hidden || theirs.several:
		f.Close()
	case !writable && !closed:
		if err := p.attachOf(m, f, theirs); !errors.Is(err, errNotShifted) {
			return err
		}
	case theirs.root() && !m.Has("U") && st.IsDir() && p.w.s.st.GraphDriverName() == "overlay" && p.ids == nil:
		if closed {
			return p.overlaid(m, f, mode|openTop)
		}
		return p.overlay(m, f)
	default:
		f.Close()
	}
	return p.copied(ctx, m, src, source)
}

// openTop are the permissions that a context's top directory has at least, as it would had it been sent to a builder: it may be one that
// mktemp(1) made, which a step's user could not enter.
const openTop = 0o755

// top tells whether a source is all of a context.
func (s mountSource) top(name string) bool { return s.rootOwns && copier.Resolve(s.root, name) == "/" }

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
		if err := p.giveUser(f, p.ids); err != nil {
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

// copied mounts a copy of a source, without what the ignore file hides.
func (p *mounting) copied(ctx context.Context, m Mount, src mountSource, source string) error {
	dir, err := p.scratch()
	if err != nil {
		return err
	}
	dst, err := rootfs.OpenMapped(dir, p.w.s.own, p.ids)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, dst.Close)
	o := copier.Options{KeepOwner: !src.rootOwns, Top: true, Ignore: src.ignore, NoDigest: true, NoWildcard: true}
	if m.Has("U") {
		uid, gid := int(p.user.UID), int(p.user.GID)
		o.UID, o.GID, o.KeepOwner = &uid, &gid, false
	}
	if _, err := copier.Copy(ctx, dst, "/data", src.root, []string{source}, o); err != nil {
		return err
	}
	if src.top(source) {
		if err := open(dst, "/data"); err != nil {
			return err
		}
	}
	f, err := dst.OpenPath("/data")
	if err != nil {
		return err
	}
	return p.attach(m, f)
}

// open gives a directory the permissions of a context's.
func open(root *rootfs.Root, name string) error {
	d, err := root.Dir(name)
	if err != nil {
		return err
	}
	defer d.Close()
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	return d.Chmod(".", info.Perm()|openTop)
}

// overlay mounts a directory so that writes go to another one: the caller's, or one that is thrown away. It looks like
// the source at the mount point (exact.md on cli.md §8.15).
func (p *mounting) overlay(m Mount, lower *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(lower.Fd()), &st); err != nil {
		return errors.Join(err, lower.Close())
	}
	return p.overlaid(m, lower, st.Mode&0o7777)
}

// overlaid is overlay with another mode at the top.
func (p *mounting) overlaid(m Mount, lower *os.File, mode uint32) error {
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
		if err := errors.Join(os.Chown(upper, int(st.Uid), int(st.Gid)), unix.Chmod(upper, mode)); err != nil {
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

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// memory mounts a file system in memory: an empty one, or with tmpcopyup a copy of what the container has there.
func (p *mounting) memory(ctx context.Context, m Mount) error {
	if m.Has("tmpcopyup") {
		return p.copyUp(ctx, m)
	}
	if m.Mode == nil {
		sticky := uint32(0o1777)
		m.Mode = &sticky
	}
	if p.detached && !m.ReadOnly { // runc gives one that it makes the mode of the place; a read-only one it must make, to mount in it
		return p.detachedMemory(m)
	}
	options := append([]string{"nosuid", "nodev"}, m.Options...)
	if m.Size > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.Size))
	}
	options = append(options, fmt.Sprintf("mode=%o", *m.Mode))
	if m.ReadOnly {
		options = append(options, "ro")
	}
	p.list = append(p.list, specs.Mount{Destination: m.Target, Type: "tmpfs", Source: "tmpfs", Options: options})
	return nil
}

// detachedMemory mounts an empty file system in memory that is ready before it is mounted anywhere.
func (p *mounting) detachedMemory(m Mount) error {
	f, err := detachedTmpfs(m, p.label)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, f.Close)
	uid, gid, err := p.ids.Outside(0, 0)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := errors.Join(os.Chown(name, uid, gid), unix.Chmod(name, *m.Mode)); err != nil {
		return fmt.Errorf("making a file system in memory: %w", err)
	}
	p.bindMemory(m, f)
	return nil
}

// bindMemory binds a file system in memory.
func (p *mounting) bindMemory(m Mount, f *os.File) {
	p.trees = append(p.trees, f)
	options := append([]string{"bind", "rprivate", "nosuid", "nodev"}, m.Options...)
	if m.ReadOnly {
		options = append(options, "ro")
	}
	p.list = append(p.list, specs.Mount{Destination: m.Target, Type: "bind", Source: runner.TreePath(len(p.trees) - 1), Options: options})
}

// copyUp fills the file system before it is mounted anywhere.
func (p *mounting) copyUp(ctx context.Context, m Mount) error {
	f, err := detachedTmpfs(m, p.label)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, f.Close)
	dst, err := rootfs.OpenMapped(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), p.w.s.own, p.ids)
	if err != nil {
		return err
	}
	defer dst.Close()
	if err := p.fillFrom(ctx, dst, m); err != nil {
		return fmt.Errorf("copying what is there: %w", err)
	}
	p.bindMemory(m, f)
	return nil
}

// fillFrom copies the container's directory. One that is not there is empty.
func (p *mounting) fillFrom(ctx context.Context, dst *rootfs.Root, m Mount) error {
	i, err := p.root.Stat(m.Target)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !i.IsDir() {
		return fmt.Errorf("%s is not a directory", m.Target)
	}
	if _, err := copier.Copy(ctx, dst, "/", p.root, []string{m.Target}, copier.Options{KeepOwner: true, NoDigest: true, NoWildcard: true}); err != nil {
		return err
	}
	top, err := dst.Dir("/")
	if err != nil {
		return err
	}
	defer top.Close()
	mode := i.Mode & 0o7777
	if m.Mode != nil {
		mode = *m.Mode
	}
	uid, gid, err := p.ids.Outside(i.UID, i.GID)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchown(top.Fd(), uid, gid), unix.Fchmod(top.Fd(), mode))
}

// detachedTmpfs makes a file system in memory that is mounted nowhere yet.
func detachedTmpfs(m Mount, label string) (*os.File, error) {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making a file system in memory: %w", err)
	}
	defer unix.Close(fd)
	set := map[string]string{}
	if m.Size > 0 {
		set["size"] = fmt.Sprint(m.Size)
	}
	if label != "" {
		set["context"] = label
	}
	for key, value := range set {
		if err := unix.FsconfigSetString(fd, key, value); err != nil {
			return nil, fmt.Errorf("making a file system in memory: %s=%s: %w", key, value, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, fmt.Errorf("making a file system in memory: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, fmt.Errorf("making a file system in memory: %w", err)
	}
	return os.NewFile(uintptr(mount), "tmpfs"), nil
}

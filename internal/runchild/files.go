package runchild

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// files shows the command its files.
func (b *rootBuilder) files(req *Request) error {
	if len(req.Files) == 0 {
		return nil
	}
	if b.stage != nil {
		defer b.stage.Close()
		req.Stage = fdPath(b.stage)
		if err := fillStage(req.Stage, req.Files, owner(req)); err != nil {
			return err
		}
	} else if err := stage(req.Stage, req.Files, req.MountLabel, owner(req)); err != nil {
		return err
	}
	for i, f := range req.Files {
		flags := uintptr(unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV)
		if f.Mode&0o111 == 0 {
			flags |= unix.MS_NOEXEC
		}
		if err := b.mount(Mount{Source: stagedFile(req.Stage, i), Target: f.Target, Flags: flags, Propagation: unix.MS_PRIVATE}); err != nil {
			return fmt.Errorf("mounting on %s: %w", f.Target, err)
		}
	}
	return nil
}

func stagedFile(dir string, i int) string { return path.Join(dir, "file"+strconv.Itoa(i)) }

// stage mounts a tmpfs over dir, in this process's mount namespace, and writes the files to it. They go with the last process
// that has the mount: no disk ever has them (security.md B).
func stage(dir string, files []File, label string, own rootfs.Ownership) error {
	data := "mode=0711" // who has a user namespace of its own is nobody here
	if label != "" {
		data += `,context="` + label + `"`
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("making a place in memory: %w", err)
	}
	return fillStage(dir, files, own)
}

// aside is a tmpfs over the host's root, where nobody but us finds it.
func aside(label string) (*os.File, error) {
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	err = unix.FsconfigSetString(fd, "mode", "0700")
	if label != "" {
		err = errors.Join(err, unix.FsconfigSetString(fd, "context", label))
	}
	if err := errors.Join(err, unix.FsconfigCreate(fd)); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mount), "tmpfs"), overRoot(mount)
}

func fillStage(dir string, files []File, own rootfs.Ownership) error {
	for i, f := range files {
		if err := write(stagedFile(dir, i), f, own); err != nil {
			return fmt.Errorf("writing the file for %s: %w", f.Target, err)
		}
	}
	return nil
}

func write(name string, f File, own rootfs.Ownership) error {
	if err := os.WriteFile(name, f.Data, 0o600); err != nil {
		return err
	}
	if f.UID != 0 || f.GID != 0 {
		if err := give(name, f, own); err != nil {
			return err
		}
	}
	return unix.Chmod(name, f.Mode)
}

// owner says what becomes of owners that this process cannot set: with a supervisor they are recorded.
func owner(req *Request) rootfs.Ownership {
	if len(req.Owners) > 0 {
		return rootfs.Record
	}
	return rootfs.Apply
}

// give gives a file to its owner. Before Linux 6.6 files in memory keep no records: root's they stay then, which with one id is whoever
// reads them.
func give(name string, f File, own rootfs.Ownership) error {
	if own != rootfs.Record {
		err := unix.Chown(name, int(f.UID), int(f.GID))
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("owner %d:%d: this user namespace has no such id, and only isolation native records owners where one exists", f.UID, f.GID)
		}
		return err
	}
	fd, err := unix.Open(name, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = rootfs.WriteOverride(fd, unix.S_IFREG, rootfs.Override{UID: int(f.UID), GID: int(f.GID), Mode: f.Mode})
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}

package runchild

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// files shows the command its files.
func (b *rootBuilder) files(req *Request) error {
	if len(req.Files) == 0 {
		return nil
	}
	if b.stage != nil {
		defer b.stage.Close()
		req.Stage = fdPath(b.stage)
		if err := fillStage(req.Stage, req.Files); err != nil {
			return err
		}
	} else if err := stage(req.Stage, req.Files, req.MountLabel); err != nil {
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
func stage(dir string, files []File, label string) error {
	data := "mode=0711" // who has a user namespace of its own is nobody here
	if label != "" {
		data += `,context="` + label + `"`
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("making a place in memory: %w", err)
	}
	return fillStage(dir, files)
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

func fillStage(dir string, files []File) error {
	for i, f := range files {
		if err := write(stagedFile(dir, i), f); err != nil {
			return fmt.Errorf("writing the file for %s: %w", f.Target, err)
		}
	}
	return nil
}

func write(name string, f File) error {
	if err := os.WriteFile(name, f.Data, 0o600); err != nil {
		return err
	}
	if f.UID != 0 || f.GID != 0 {
		if err := os.Chown(name, int(f.UID), int(f.GID)); err != nil {
			return err
		}
	}
	return unix.Chmod(name, f.Mode)
}

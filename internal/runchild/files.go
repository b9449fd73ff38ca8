package runchild

import (
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
	if err := stage(req.Stage, req.Files, req.MountLabel); err != nil {
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
	data := "mode=0700"
	if label != "" {
		data += `,context="` + label + `"`
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("making a place in memory: %w", err)
	}
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

package builder

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// remap finishes what storage does where it cannot shift owners as it mounts: it has given a copy of the base to the ids of a user namespace, but
// misses directories beside hard links, and leaves file capabilities to the root of the host. Nothing uses the workspace yet.
func (w *Workspace) remap() error {
	l, err := w.s.st.Layer(w.layer)
	if err != nil || w.users == nil || len(l.UIDMap)+len(l.GIDMap) == 0 {
		return translate(err)
	}
	return w.mounted(func(dir string) error {
		disk, err := rootfs.Open(dir, rootfs.Apply)
		if err != nil {
			return err
		}
		defer disk.Close()
		d, err := disk.Dir("/")
		if err != nil {
			return err
		}
		defer d.Close()
		return remapDir(d, w.users)
	})
}

func remapDir(d *rootfs.Dir, ids *idmap.IDs) error {
	names, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		i, err := d.Lstat(name)
		if err != nil {
			return err
		}
		if err := remapEntry(d, name, i, ids); err != nil {
			return fmt.Errorf("giving %s/%s to the user namespace: %w", d.Name(), name, err)
		}
		if !i.IsDir() {
			continue
		}
		sub, err := d.Dir(name)
		if err != nil {
			return err
		}
		err = remapDir(sub, ids)
		if err = errors.Join(err, sub.Close()); err != nil {
			return err
		}
	}
	return nil
}

func remapEntry(d *rootfs.Dir, name string, i rootfs.Info, ids *idmap.IDs) error {
	uid, gid := -1, -1
	if !ids.UIDs.Has(uint32(i.UID)) {
		uid = i.UID
	}
	if !ids.GIDs.Has(uint32(i.GID)) {
		gid = i.GID
	}
	if uid >= 0 || gid >= 0 {
		u, g, err := ids.Outside(uid, gid)
		if err != nil {
			return nil //nolint:nilerr // nobody's in the container: it stays as it is
		}
		if err := d.Chown(name, u, g); err != nil {
			return err
		}
		if i.IsRegular() && i.Perm()&(unix.S_ISUID|unix.S_ISGID) != 0 {
			if err := d.Chmod(name, i.Perm()); err != nil {
				return err
			}
		}
	}
	if !i.IsRegular() {
		return nil
	}
	attrs, err := d.Xattrs(name)
	if value, ok := attrs[idmap.CapabilityName]; ok {
		err = errors.Join(err, d.SetXattr(name, idmap.CapabilityName, ids.CapabilityOutside(value)))
	}
	return err
}

package builder

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// remap finishes what storage does where it cannot shift owners as it mounts: it has given a copy of the base, the layer called that, to the ids of
// a user namespace, but misses owners of and beside hard links, and leaves file capabilities to the root of the host. Nothing uses
// the workspace yet.
func (w *Workspace) remap(ctx context.Context, base string) (err error) {
	if w.users == nil || base == "" {
		return nil
	}
	l, err := w.s.st.Layer(w.layer)
	if err != nil || len(l.UIDMap)+len(l.GIDMap) == 0 {
		return translate(err)
	}
	meant, done, err := w.s.OpenLayer(ctx, base)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	from, err := meant.Dir("/")
	if err != nil {
		return err
	}
	defer from.Close()
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
		return remapDir(d, from, w.users)
	})
}

// remapDir gives what is in d the owners that the same entries of from are to have.
func remapDir(d, from *rootfs.Dir, ids *idmap.IDs) error {
	names, err := from.ReadDir()
	if err != nil {
		return err
	}
	for _, name := range names {
		meant, err := from.Lstat(name)
		if err == nil {
			err = remapEntry(d, from, meant, ids)
		}
		if err != nil {
			return fmt.Errorf("giving %s/%s to the user namespace: %w", d.Name(), name, err)
		}
		if !meant.IsDir() {
			continue
		}
		if err := remapBelow(d, from, name, ids); err != nil {
			return err
		}
	}
	return nil
}

func remapBelow(d, from *rootfs.Dir, name string, ids *idmap.IDs) error {
	sub, err := d.Dir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	below, err := from.Dir(name)
	if err != nil {
		return err
	}
	defer below.Close()
	return remapDir(sub, below, ids)
}

func remapEntry(d, from *rootfs.Dir, meant rootfs.Info, ids *idmap.IDs) error {
	name := meant.Name
	is, err := d.Lstat(name)
	if err != nil {
		return err
	}
	uid, gid, err := ids.Outside(meant.UID, meant.GID)
	if err != nil {
		return nil //nolint:nilerr // nobody's in the container: storage knows no better either
	}
	if is.UID != uid || is.GID != gid {
		if err := d.Chown(name, uid, gid); err != nil {
			return err
		}
		if is.IsRegular() && is.Perm()&(unix.S_ISUID|unix.S_ISGID) != 0 {
			if err := d.Chmod(name, is.Perm()); err != nil {
				return err
			}
		}
	}
	if !meant.IsRegular() {
		return nil
	}
	attrs, err := from.Xattrs(name)
	if value, ok := attrs[idmap.CapabilityName]; ok {
		err = errors.Join(err, d.SetXattr(name, idmap.CapabilityName, ids.CapabilityOutside(value)))
	}
	return err
}

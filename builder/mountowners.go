package builder

import (
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/mounts"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

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
	if !selinux.GetEnabled() {
		return nil
	}
	return relabelled(m, name, p.label, label.Relabel)
}

// relabelled calls set for a source that is to get the label own, or that one without its level, which all containers share.
func relabelled(m Mount, name, own string, set func(name, label string, shared bool) error) error {
	if !m.Has("z") && !m.Has("Z") {
		return nil
	}
	if err := set(name, own, m.Has("z")); err != nil {
		return fmt.Errorf("giving %s the SELinux label of the container: %w", name, err)
	}
	return nil
}

// giveUser gives a tree to the command's user, whose ids mean what ids say.
func (p *mounting) giveUser(f *os.File, ids *idmap.IDs) error {
	uid, gid, err := ids.Outside(int(p.user.UID), int(p.user.GID))
	if err != nil {
		return err
	}
	return chownTree(f, uid, gid)
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

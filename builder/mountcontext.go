package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/slipway-build/slipway/copier/rootfs"
	ids "github.com/slipway-build/slipway/internal/idmap"
)

// What RUN sees of a build context is root's, whoever owns it on disk: it would be so had it been copied.

// An owner is who owns a tree. several is true if not all of it has the same one.
type owner struct {
	uid, gid int
	several  bool
}

func (o owner) root() bool { return o == owner{} }

// ownerOf finds who owns a file, or a directory with everything in it.
func ownerOf(root *rootfs.Root, name string) (o owner, err error) {
	top, err := root.Stat(name)
	if err != nil {
		return o, err
	}
	o = owner{uid: top.UID, gid: top.GID}
	if !top.IsDir() {
		return o, nil
	}
	d, err := root.Dir(name)
	if err != nil {
		return o, err
	}
	defer d.Close()
	same, err := o.owns(d)
	o.several = !same
	return o, err
}

func (o owner) owns(d *rootfs.Dir) (bool, error) {
	names, err := d.ReadDir()
	if err != nil {
		return false, err
	}
	for _, n := range names {
		i, err := d.Lstat(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the directory was read
		}
		if err != nil || i.UID != o.uid || i.GID != o.gid {
			return false, err
		}
		if !i.IsDir() {
			continue
		}
		if same, err := o.ownsBelow(d, n); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (o owner) ownsBelow(d *rootfs.Dir, name string) (bool, error) {
	sub, err := d.Dir(name)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist), nil // what cannot be opened is copied, which says so
	}
	defer sub.Close()
	return o.owns(sub)
}

// attachOf binds what is no path of the host, and belongs to o where that matters.
func (p *mounting) attachOf(m Mount, f *os.File, o owner) error {
	if o.root() {
		return p.attachOurs(m, f)
	}
	return p.attachAsRoots(m, f, o)
}

// attachAsRoots binds what belongs to o as if it were root's, and closes f. The error is errNotShifted if that cannot be had.
func (p *mounting) attachAsRoots(m Mount, f *os.File, o owner) error {
	source, err := p.tree(m, f)
	if err != nil {
		return err
	}
	maps, err := p.outside(ids.IDs{
		UIDs: ids.Map{{Container: uint32(o.uid), Size: 1}}, //nolint:gosec // the kernel gave it as such
		GIDs: ids.Map{{Container: uint32(o.gid), Size: 1}}, //nolint:gosec // likewise
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotShifted, err)
	}
	shift := newShifter(&maps)
	p.undo = append(p.undo, shift.close)
	if err := shift.apply(p.trees[len(p.trees)-1]); err != nil { // whatever forbids it: a copy does as well
		return fmt.Errorf("%w: %w", errNotShifted, err)
	}
	p.list = append(p.list, p.bound(m, source))
	return nil
}

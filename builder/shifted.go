package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	drivers "github.com/containers/storage/drivers"
	"github.com/opencontainers/selinux/go-selinux/label"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/internal/idmap"
	"github.com/slipway-build/slipway/internal/userns"
)

// Commands of a build in a user namespace of their own: the workspace's files have the owners that the layer is to have, and only what the
// command sees is shifted, what it writes back again. So layers, copies and cache are those of a build without maps. Where the kernel cannot
// do that, as for an ordinary user, the workspace's layer is made with the maps instead: a copy of all that is below.

// shifts tells whether what is in the store's layers can be shown with other owners, and written to.
func (s *Store) shifts(ids *idmap.IDs) bool {
	if userns.Current() != userns.Root {
		return false
	}
	d, err := s.st.GraphDriver()
	if err != nil {
		return false
	}
	if d.String() == "overlay" {
		return d.SupportsShifting(toStorage(ids.UIDs), toStorage(ids.GIDs))
	}
	f, err := detached(s.st.GraphRoot())
	if err != nil {
		return false
	}
	defer f.Close()
	sh := newShifter(ids)
	return errors.Join(sh.apply(f), sh.close()) == nil
}

// detached is a mount of a directory that is attached nowhere.
func detached(dir string) (*os.File, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// mountedShifted is [Workspace.mounted] with the owners of the command's user namespace. The directory is a detached mount, which is handed to
// the command as it is.
func (w *Workspace) mountedShifted(f func(dir string) error) (err error) {
	sh := newShifter(w.shifted)
	defer func() { err = errors.Join(err, sh.close()) }()
	d, err := w.s.st.GraphDriver()
	if err != nil {
		return err
	}
	if d.String() == "overlay" {
		w.tree, err = w.shiftedOverlay(d, sh)
	} else {
		err = w.mounted(func(dir string) (err error) {
			if w.tree, err = detached(dir); err == nil {
				err = sh.apply(w.tree)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("mounting %s with the owners of a user namespace: %w", w.layer, err)
	}
	defer func() { err = errors.Join(err, w.tree.Close()); w.tree = nil }()
	return f(fmt.Sprintf("/proc/self/fd/%d", w.tree.Fd()))
}

// shiftedOverlay mounts the workspace's layers, all below one directory of the driver's, through one mount that shifts owners. Nothing of it stays
// attached.
func (w *Workspace) shiftedOverlay(d drivers.Driver, sh *shifter) (tree *os.File, err error) {
	dirs, err := d.Metadata(w.layer)
	if err != nil {
		return nil, err
	}
	home := filepath.Dir(filepath.Dir(dirs["UpperDir"]))
	scratch, done, err := w.s.scratch()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	at, merged, none := filepath.Join(scratch, "layers"), filepath.Join(scratch, "merged"), filepath.Join(scratch, "none")
	if err := errors.Join(os.Mkdir(at, 0o700), os.Mkdir(merged, 0o700), os.Mkdir(none, 0o755)); err != nil {
		return nil, err
	}
	if err := sh.attach(home, at); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unix.Unmount(at, unix.MNT_DETACH)) }()
	layers := layerDirs{home: home, at: at}
	defer func() { layers.Close() }()
	data, err := layers.options(dirs, none)
	if err != nil {
		return nil, err
	}
	// What overlayfs makes on its own account, its working directory and whiteouts, belongs to who mounts it: ours is an owner that the
	// shifted layers have no number for.
	uid, gid, err := w.shifted.Outside(0, 0)
	if err != nil {
		return nil, err
	}
	data = label.FormatMountLabel(data, w.about.mountLabel)
	if err := runner.AsRoot(uid, gid, func() error { return unix.Mount("overlay", merged, "overlay", 0, data) }); err != nil {
		return nil, fmt.Errorf("mounting overlay: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(merged, unix.MNT_DETACH)) }()
	return detached(merged)
}

// attach mounts a directory with the container's owners.
func (s *shifter) attach(dir, at string) error {
	f, err := detached(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.apply(f); err != nil {
		return err
	}
	return attachAt(f, at)
}

// layerDirs opens directories of layers, which the driver has below home, where they are mounted with other owners. They stay open until overlay has
// them.
type layerDirs struct {
	layer.Numbered
	home, at string
}

func (l *layerDirs) dir(name string) (string, error) {
	rel, ok := strings.CutPrefix(name, l.home+"/")
	if !ok {
		return "", fmt.Errorf("layer %s is in another store: %w", name, errNotShifted)
	}
	return l.Open(filepath.Join(l.at, rel))
}

// options are overlay's for the directories that the driver names. With nothing below, none is: an empty directory.
func (l *layerDirs) options(dirs map[string]string, none string) (string, error) {
	lowers := []string{none}
	if lower := dirs["LowerDir"]; lower != "" {
		lowers = strings.Split(lower, ":")
		for i, name := range lowers {
			var err error
			if lowers[i], err = l.dir(name); err != nil {
				return "", err
			}
		}
	}
	upper, err := l.dir(dirs["UpperDir"])
	if err != nil {
		return "", err
	}
	work, err := l.dir(dirs["WorkDir"])
	return "lowerdir=" + strings.Join(lowers, ":") + ",upperdir=" + upper + ",workdir=" + work, err
}

// attachAt mounts a detached mount, which no other namespace sees.
func attachAt(tree *os.File, dir string) error {
	err := unix.MountSetattr(int(tree.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err == nil {
		err = unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return &os.PathError{Op: "move_mount", Path: dir, Err: err}
	}
	return nil
}

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/idtools"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/userns"
)

// limited tells whether this process can set no owner but its own: it lives in a user namespace with one id, or in none.
func limited() bool {
	r := userns.Current()
	return r == userns.OneID || r == userns.None
}

// ownership decides how owners that this process may not set are treated, and pins the choice: a
// storage with recorded owners must not be used as if it had real ones (decisions.md §1.7).
func (s *Store) ownership() (rootfs.Ownership, error) {
	asked, ok := rootfs.ParseOwnership(s.o.Ownership)
	if s.o.Ownership != "" && (!ok || asked == rootfs.Apply) {
		return asked, fmt.Errorf("unknown --ownership %q: it is record, ignore or fail", s.o.Ownership)
	}
	want := rootfs.Apply // all owners can be set, whatever is to happen to others
	if limited() {
		want = rootfs.Record
		if s.o.Ownership != "" {
			want = asked
		}
	}
	file := ownershipFile(s.st.GraphRoot())
	text, err := os.ReadFile(file)
	made, known := rootfs.ParseOwnership(strings.TrimSpace(string(text)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if want == rootfs.Record && !rootfs.Recordable(s.st.GraphRoot()) {
			return want, fmt.Errorf("storage %s: its file system keeps no attributes of users (user.*), which owners are recorded in: put the storage on another volume (a tmpfs will do from Linux 6.6 on), or use --ownership=ignore",
				s.st.GraphRoot())
		}
		if _, err := s.dir(""); err != nil {
			return want, fmt.Errorf("preparing storage %s: %w", s.st.GraphRoot(), err)
		}
		return want, os.WriteFile(file, []byte(want.String()+"\n"), 0o600)
	case err != nil:
		return want, fmt.Errorf("reading how storage was made: %w", err)
	case known && limited() && s.o.Ownership == "" && made != rootfs.Apply:
		return made, nil
	case !known || made != want:
		return want, fmt.Errorf("storage %s was made with owners set to %q, but here they are %q: use another --root, or the account it was made with",
			s.st.GraphRoot(), strings.TrimSpace(string(text)), want)
	}
	return want, nil
}

// ownershipFile pins what becomes of owners in the storage at root.
func ownershipFile(root string) string { return filepath.Join(root, "slipway", "ownership") }

// LikelyDriver is the driver of a storage that is not open yet: the named one, or vfs where a storage was made with that alone and its
// owners are not on disk, as without a user namespace: there is nothing to mount then.
func (o StoreOptions) LikelyDriver() string {
	if o.Driver != "" || o.Root == "" {
		return first(o.Driver, "overlay")
	}
	owners, err := os.ReadFile(ownershipFile(o.Root))
	if err == nil && strings.TrimSpace(string(owners)) != rootfs.Apply.String() && driverIn(o.Root, "overlay") == "vfs" {
		return "vfs"
	}
	return "overlay"
}

// alone sets what storage needs of an ordinary user without a user namespace: a driver that mounts nothing, and root of
// the image being this user on disk.
func (o *StoreOptions) alone(so *storage.StoreOptions) {
	if o.Driver == "" {
		so.GraphDriverName, so.GraphDriverOptions = "vfs", nil
	}
	so.UIDMap = []idtools.IDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	so.GIDMap = []idtools.IDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

// movable lets this process, when nobody's root, delete layers whose making was cut short: storage makes a layer's
// directory with mode 0555, and only who may write to a directory may move it away.
func movable(root string) error {
	if userns.Current() != userns.None {
		return nil
	}
	dirs, err := filepath.Glob(filepath.Join(root, "vfs/dir/*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		if st, err := os.Lstat(d); err == nil && st.IsDir() && st.Mode()&0o200 == 0 {
			if err := os.Chmod(d, st.Mode().Perm()|0o700); err != nil {
				return fmt.Errorf("preparing storage: %w", err)
			}
		}
	}
	return nil
}

// ownGroup takes the setgid bit, which a volume with fsGroup has and directories inherit, off the storage's directory: it
// would come to stand in every layer.
func ownGroup(root string) error {
	if !limited() {
		return nil
	}
	st, err := os.Stat(root)
	if err != nil || st.Mode()&fs.ModeSetgid == 0 {
		return err
	}
	if err := os.Chmod(root, st.Mode().Perm()); err != nil {
		return fmt.Errorf("storage %s hands its group down to everything in it: use a directory below it as --root: %w", root, err)
	}
	return nil
}

// runnable tells why no command can be run in a container here, nil if one can.
func runnable() error {
	if why := userns.Why(); why != "" {
		return errors.New("commands cannot be run here: " + why)
	}
	return nil
}

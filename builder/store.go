package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
	"github.com/slipway-build/slipway/internal/userns"
)

// A Store is an open containers/storage plus the policies (registries, clock, log) that every
// operation needs. It may be used by several goroutines. Close it when done.
type Store struct {
	st  storage.Store
	sys types.SystemContext
	o   StoreOptions
	own rootfs.Ownership
	ids *idmap.IDs // the default maps of new containers, nil for none

	auth    pipedFiles
	staging stagingMark
	made    sync.Map                       // by ID: layers of steps that this process has made and that no image stands on
	conf    func() (*hostconf.Conf, error) // the host's containers.conf, read once
}

// Open opens or creates the storage that o describes. Without any configuration file the storage is
// where every tool of the family looks for it: below /var/lib for root, below the home directory otherwise.
func Open(o StoreOptions) (*Store, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Environ == nil {
		o.Environ = func(string) (string, bool) { return "", false }
	}
	so, ids, err := o.storage()
	if err != nil {
		return nil, err
	}
	st, err := o.open(so)
	if err != nil {
		return nil, fmt.Errorf("opening storage %s: %w", so.GraphRoot, foreignStorage(so.GraphRoot, err))
	}
	finishRemovals(st)
	s := &Store{st: st, o: o, ids: ids}
	s.conf = sync.OnceValues(func() (*hostconf.Conf, error) { return hostconf.Read(s.confFiles()) })
	if s.own, err = s.ownership(); err != nil {
		return nil, err
	}
	if err := s.setTempDir(); err != nil {
		return nil, err
	}
	s.sys = s.o.context(st.GraphRoot())
	o.Log.Debug("user namespace", "rung", userns.Current(), "ownership", s.own, "refused", userns.Why())
	o.Log.Debug("opened storage", "root", st.GraphRoot(), "runroot", st.RunRoot(), "driver", st.GraphDriverName())
	if err := s.sweep(); err != nil {
		o.Log.Debug("sweeping what dead builds left", "error", err)
	}
	s.keepReserve()
	return s, nil
}

// foreignStorage adds to what keeps this user from a storage that it is another's.
func foreignStorage(root string, err error) error {
	var st unix.Stat_t
	if errors.Is(err, fs.ErrPermission) && unix.Stat(root, &st) == nil && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to another user: name one of your own with --root, or be that user", err)
	}
	return err
}

// open opens storage. Where nobody says which driver, it is the one that the storage was made with, for a new one overlay. Where overlay
// is not possible it is vfs, unless the caller wants no other: in a container whose root cannot mount, or whose files are on an
// overlay themselves.
func (o *StoreOptions) open(so storage.StoreOptions) (storage.Store, error) {
	if so.GraphDriverName == "" && len(so.GraphDriverPriority) == 0 {
		so.GraphDriverName = driverIn(so.GraphRoot, "overlay")
	}
	if !slices.Contains([]string{"", "overlay", "overlay2", "vfs", "zfs"}, so.GraphDriverName) {
		return nil, fmt.Errorf("no storage driver is called %q: use overlay or vfs (--storage-driver, $STORAGE_DRIVER or storage.conf)", so.GraphDriverName)
	}
	st, err := storage.GetStore(so)
	if err == nil || o.Driver != "" || so.GraphDriverName != "overlay" || !impossible(err) {
		return st, err
	}
	so.GraphDriverName = "vfs"
	so.GraphDriverOptions = slices.DeleteFunc(so.GraphDriverOptions, func(o string) bool { return strings.HasPrefix(o, "overlay.") })
	if driverIn(so.GraphRoot, "") != "vfs" {
		o.Log.Warn("overlay cannot be used here: with vfs each layer is a whole copy, which takes time and space", "storage", so.GraphRoot, "error", err)
	}
	return storage.GetStore(so)
}

// impossible tells whether a driver cannot work here, by the error of its start. Storage remembers that for the next start, as text.
func impossible(err error) bool {
	for _, why := range []error{graphdriver.ErrNotSupported, graphdriver.ErrPrerequisites, graphdriver.ErrIncompatibleFS} {
		if errors.Is(err, why) || strings.Contains(err.Error(), why.Error()) {
			return true
		}
	}
	return false
}

// storage returns the library's options, storage.conf's or the built-in defaults, under what o says, and the default maps of new containers.
func (o *StoreOptions) storage() (so storage.StoreOptions, ids *idmap.IDs, err error) {
	so, err = storage.DefaultStoreOptions()
	if err != nil {
		return so, nil, fmt.Errorf("reading storage.conf: %w", err)
	}
	if o.Root != "" {
		if so.GraphRoot, err = filepath.Abs(o.Root); err != nil {
			return so, nil, err
		}
	}
	if o.RunRoot != "" {
		if so.RunRoot, err = filepath.Abs(o.RunRoot); err != nil {
			return so, nil, err
		}
	}
	if o.ImageStore != "" {
		so.ImageStore = o.ImageStore
	}
	if ids, err = o.defaultIDs(so.UIDMap, so.GIDMap); err != nil {
		return so, nil, err
	}
	so.UIDMap, so.GIDMap = nil, nil // what is pulled and committed is stored as it is
	if userns.Current() == userns.None {
		o.alone(&so)
	}
	if o.Driver != "" {
		so.GraphDriverName, so.GraphDriverOptions = o.Driver, nil
	} else if o.Root != "" && so.GraphDriverName != "" && len(so.GraphDriverOptions) == 0 {
		so.GraphDriverName = driverIn(so.GraphRoot, so.GraphDriverName)
	}
	for _, option := range o.DriverOptions {
		if !slices.Contains(so.GraphDriverOptions, option) { // the library reads $STORAGE_OPTS too, but not always
			so.GraphDriverOptions = append(so.GraphDriverOptions, option)
		}
	}
	so.TransientStore = so.TransientStore || o.TransientStore
	if err := os.MkdirAll(so.GraphRoot, 0o700); err != nil {
		return so, nil, fmt.Errorf("preparing storage %s: %w: name another place with --root", so.GraphRoot, err)
	}
	return so, ids, errors.Join(ownGroup(so.GraphRoot), movable(so.GraphRoot))
}

// driverIn returns the driver that the storage at root was made with, or def for a new one, so that
// naming a root is enough to open it.
func driverIn(root, def string) string {
	for _, name := range []string{"overlay", "vfs", "btrfs", "zfs"} {
		if _, err := os.Stat(filepath.Join(root, name+"-images")); err == nil {
			return name
		}
	}
	return def
}

// dir returns a private directory of ours below the storage root, made on first use.
func (s *Store) dir(name string) (string, error) {
	d := filepath.Join(s.st.GraphRoot(), "slipway", name)
	return d, os.MkdirAll(d, 0o700)
}

// runDir is like dir for what must not survive a reboot.
func (s *Store) runDir(name string) (string, error) {
	d := filepath.Join(s.st.RunRoot(), "slipway", name)
	return d, os.MkdirAll(d, 0o700)
}

// setTempDir picks the first directory for large temporary files that can be written (decisions.md §1.12).
func (s *Store) setTempDir() error {
	own, err := s.dir("tmp")
	if err != nil {
		return fmt.Errorf("preparing storage %s: %w", s.st.GraphRoot(), err)
	}
	configured := ""
	if s.o.TempDir == "" && hostconf.Mention(s.confFiles(), "image_copy_tmp_dir") {
		conf, err := s.conf()
		if err != nil {
			return err
		}
		if configured = conf.Engine.TempDir; configured == "storage" {
			configured = own
		}
	}
	for _, d := range []string{s.o.TempDir, configured, "/var/tmp", own} {
		if d == "" {
			continue
		}
		if unix.Faccessat(unix.AT_FDCWD, d+"/.", unix.W_OK|unix.X_OK, unix.AT_EACCESS) != nil {
			continue
		}
		s.o.TempDir = d
		s.o.Log.Debug("large temporary files", "dir", d)
		return nil
	}
	return fmt.Errorf("no directory for temporary files can be written: set TMPDIR")
}

// Close releases the store. Mounts made by Container.Mount stay, as scripts rely on them.
func (s *Store) Close() error {
	s.keepReserve()
	s.st.Free()
	return s.staging.end()
}

// GraphRoot is the directory of the storage.
func (s *Store) GraphRoot() string { return s.st.GraphRoot() }

// RunRoot is the directory of the storage's volatile state.
func (s *Store) RunRoot() string { return s.st.RunRoot() }

// Driver names the storage driver in use.
func (s *Store) Driver() string { return s.st.GraphDriverName() }

// allImages are the images in storage, other tools' as well.
func (s *Store) allImages() ([]storage.Image, error) {
	list, err := s.st.Images()
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	return list, nil
}

// allContainers are the containers in storage, other tools' as well.
func (s *Store) allContainers() ([]storage.Container, error) {
	list, err := s.st.Containers()
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	return list, nil
}

// allLayers are the layers in storage: images', containers' and the build cache's.
func (s *Store) allLayers() ([]storage.Layer, error) {
	list, err := s.st.Layers()
	if err != nil {
		return nil, fmt.Errorf("listing layers: %w", err)
	}
	return list, nil
}

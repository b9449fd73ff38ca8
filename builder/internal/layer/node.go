package layer

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/idmap"
)

// errNotPlain says that an upper directory refers to the layers below by more than names, so that it is
// not itself the difference. The file systems have to be compared then.
var errNotPlain = errors.New("the upper directory is not a plain difference")

// A node is a file, read from disk once.
type node struct {
	path  string      // below the root, "." for the root itself
	st    unix.Stat_t // as on disk
	mode  uint32      // type and permissions as they are meant
	uid   uint32      // as they are meant: recorded or mapped
	gid   uint32      //
	rdev  uint64      //
	link  string      // target of a symbolic link
	attrs []xattr     // those that belong to the layer, sorted by name
	disk  []xattr     // more that the layer's directory needs: opacity, ownership records
	strip []string    // those that must not be in a layer's directory
	opaq  bool        // a directory that hides the one below
	// recorded: a link or FIFO whose owner is in a record
	recorded bool
}

func (n *node) kind() uint32   { return n.mode & unix.S_IFMT }
func (n *node) isDir() bool    { return n.kind() == unix.S_IFDIR }
func (n *node) whiteout() bool { return n.st.Mode&unix.S_IFMT == unix.S_IFCHR && n.st.Rdev == 0 }

// A reader reads nodes the way a store keeps them.
type reader struct {
	recorded bool // owners and devices are in extended attributes (decisions.md §1.7)
	userNS   bool // overlay's attributes are user.overlay.*, as trusted.* is not to be had
	ids      *idmap.IDs
	list     []byte
	value    []byte
}

func newReader(own rootfs.Ownership, userNS bool, ids *idmap.IDs) *reader {
	return &reader{
		recorded: own == rootfs.Record, userNS: userNS, ids: ids,
		list: make([]byte, 4<<10), value: make([]byte, 64<<10), // the most an attribute can hold
	}
}

// file fills in n from an open file or directory.
func (r *reader) file(fd int, n *node) error {
	if err := unix.Fstat(fd, &n.st); err != nil {
		return pathError("stat", n.path, err)
	}
	r.meant(n)
	return r.xattrs(n, func(list []byte) (int, error) { return unix.Flistxattr(fd, list) },
		func(name string, value []byte) (int, error) { return unix.Fgetxattr(fd, name, value) })
}

// special fills in n, which is neither a file nor a directory, from its name in a directory. Such nodes
// have no attributes that a layer keeps.
func (r *reader) special(dir int, name string, n *node) error {
	if err := unix.Fstatat(dir, name, &n.st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH); err != nil {
		return pathError("stat", n.path, err)
	}
	if n.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		size, err := unix.Readlinkat(dir, name, r.value)
		if err != nil {
			return pathError("readlink", n.path, err)
		}
		n.link = string(r.value[:size])
	}
	if n.whiteout() {
		return nil // the kernel's, not the container's: its owner means nothing
	}
	if r.meant(n); !r.recorded {
		return nil
	}
	return r.recordedSpecial(dir, name, n)
}

// recordedSpecial looks for the record of what cannot carry attributes of users.
func (r *reader) recordedSpecial(dir int, name string, n *node) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if name == "" {
		fd, err = unix.Dup(dir)
	}
	if err != nil {
		return pathError("open", n.path, err)
	}
	defer unix.Close(fd)
	o, ok := rootfs.ReadOverride(fd, n.st.Mode)
	if !ok {
		return nil
	}
	n.uid, n.gid, n.recorded = uint32(o.UID), uint32(o.GID), true
	return nil
}

// meant takes type and owner from the disk, through the maps of the container.
func (r *reader) meant(n *node) {
	n.mode, n.rdev = n.st.Mode, uint64(n.st.Rdev)
	if r.recorded {
		return // 0:0 unless a record says otherwise
	}
	n.uid, n.gid = r.ids.Inside(n.st.Uid, n.st.Gid)
	if n.path == "." && n.st.Uid == 0 && n.st.Gid == 0 {
		n.uid, n.gid = 0, 0 // storage makes it ours, whoever that is in the container
	}
	n.st.Uid, n.st.Gid = n.uid, n.gid // the layer's directory, if it is copied, has the container's
}

func (r *reader) xattrs(n *node, list func([]byte) (int, error), get func(string, []byte) (int, error)) error {
	size, err := list(r.list)
	if errors.Is(err, unix.ERANGE) {
		r.list = make([]byte, 64<<10)
		size, err = list(r.list)
	}
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return pathError("listxattr", n.path, err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(r.list[:size]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		if err := r.xattr(n, name, get); err != nil {
			return err
		}
	}
	slices.SortFunc(n.attrs, func(a, b xattr) int { return cmp.Compare(a.name, b.name) })
	return nil
}

// xattr sorts one attribute to where it belongs.
func (r *reader) xattr(n *node, name string, get func(string, []byte) (int, error)) error {
	use := useOf(name, r.recorded, r.userNS)
	switch use {
	case useNone:
		return nil
	case useStrip:
		n.strip = append(n.strip, name)
		return nil
	case useForeign:
		return fmt.Errorf("%s: %w", n.path, errNotPlain)
	}
	size, err := get(name, r.value)
	if errors.Is(err, unix.ENODATA) {
		return nil // gone since it was listed
	}
	if err != nil {
		return pathError("getxattr "+name, n.path, err)
	}
	x := xattr{name, slices.Clone(r.value[:size])}
	if name == idmap.CapabilityName {
		x.value = r.ids.CapabilityInside(x.value)
	}
	switch use {
	case useShadow:
		x.name, _ = rootfs.ShadowOf(name)
		n.attrs = append(n.attrs, x)
	case useLayer:
		n.attrs = append(n.attrs, x)
	case useOpaque:
		n.opaq = string(x.value) == "y"
		n.disk = append(n.disk, x)
	case useRecord:
		n.disk = append(n.disk, x)
		n.record(x.value)
	}
	return nil
}

// record replaces owner, permissions and device by what was recorded. Text that is no record is none, here as everywhere: who put it there
// gets what is on disk.
func (n *node) record(value []byte) {
	o, err := rootfs.ParseOverride(n.st.Mode, value)
	if err != nil {
		return
	}
	n.uid, n.gid = uint32(o.UID), uint32(o.GID)
	switch kind := n.kind(); {
	case kind == unix.S_IFREG && o.Device != 0:
		n.mode, n.rdev = o.Device|o.Mode, o.Rdev
	case kind == unix.S_IFREG, kind == unix.S_IFDIR:
		n.mode = kind | o.Mode
	}
}

func pathError(op, path string, err error) error {
	return fmt.Errorf("%s %s: %w", op, rootfs.Short(path), err)
}

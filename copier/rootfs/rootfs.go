// Package rootfs confines paths to a directory tree, as if that directory were "/". It is the only code
// in Slipway that turns names from containers, images, archives and build contexts into files, and the
// one package to audit for path safety. It needs no privilege, no chroot and no child process.
//
// The attacks it answers: symbolic links in the tree (absolute, with "..", dangling, looping) that lead
// to the host; magic links of /proc; a directory swapped for a link between look-up and use; devices and
// FIFOs where a file is expected. Every look-up is one openat2(2) with RESOLVE_IN_ROOT from a descriptor
// of the root, or, on kernels and seccomp filters without it, a walk component by component on
// descriptors. Everything that creates or changes an entry is a method of [Dir], works by name below an open
// directory, and never follows a link in the last component.
//
// It imports the standard library and x/sys only, as re-executed children use it.
package rootfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/idmap"
)

// A Root is an open directory that paths are confined to. It may be used by several goroutines.
type Root struct {
	fd   int
	name string // for messages
	own  Ownership
	ids  *idmap.IDs
	walk bool // openat2 is not to be had
}

// Open opens the directory dir as a root. The caller closes it.
func Open(dir string, own Ownership) (*Root, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	r := newRoot(fd, dir, own, nil)
	if own == Record && outside() {
		if err := r.writable(); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// OpenMapped opens a directory whose owners on disk are those of a container with id maps: the root shows and takes the container's. An
// owner that the maps have no number for cannot be set.
func OpenMapped(dir string, own Ownership, ids *idmap.IDs) (*Root, error) {
	r, err := Open(dir, own)
	if err == nil {
		r.ids = ids
	}
	return r, err
}

// writable lets this process make entries in the root itself, which storage makes with mode 0555; what it is meant
// to have is recorded.
func (r *Root) writable() error {
	d, err := r.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	i, err := d.Lstat(".")
	if err != nil {
		return err
	}
	return d.Chmod(".", i.Perm())
}

func newRoot(fd int, name string, own Ownership, ids *idmap.IDs) *Root {
	r := &Root{fd: fd, name: name, own: own, ids: ids}
	probe, err := r.openat2(".", unix.O_PATH)
	r.walk = errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
	if err == nil {
		unix.Close(probe)
	}
	return r
}

// Close closes the root. Directories and files opened through it stay open.
func (r *Root) Close() error { return unix.Close(r.fd) }

// Name is the directory as it was given to Open: for messages, never for opening.
func (r *Root) Name() string { return r.name }

// Ownership tells how owners are treated.
func (r *Root) Ownership() Ownership { return r.own }

// Mapped tells whether owners on disk are others than the root shows. One that the maps do not have is shown as it is on disk: what
// was made by this process looks like root's there.
func (r *Root) Mapped() bool { return r.ids != nil }

// MaxPath is the longest path inside a root, in bytes: twice what the kernel takes at once. It bounds what a hostile tree or
// archive of directories in directories costs: every one of them has a path, which together grow with the square of the depth.
const MaxPath = 8 << 10

const retries = 128 // EAGAIN: a rename raced with the look-up of ".."

func (r *Root) openat2(name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for n := 0; ; n++ {
		fd, err := unix.Openat2(r.fd, name, &how)
		if errors.Is(err, unix.EINTR) || (errors.Is(err, unix.EAGAIN) && n < retries) {
			continue
		}
		return fd, err
	}
}

// open resolves name, links included, and opens it.
func (r *Root) open(name string, flags int) (int, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return -1, r.wrap("open", name, unix.EINVAL)
	}
	if len(name) > MaxPath {
		return -1, r.wrap("open", name, unix.ENAMETOOLONG)
	}
	clean := strings.TrimLeft(name, "/")
	if clean == "" {
		clean = "."
	}
	var fd int
	var err error
	if r.walk || len(clean) >= unix.PathMax { // the kernel takes no more at once
		fd, err = r.walkOpen(clean, flags)
	} else {
		fd, err = r.openat2(clean, uint64(flags))
	}
	if err != nil {
		return -1, r.wrap("open", name, err)
	}
	return fd, nil
}

func (r *Root) wrap(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: Short(path.Join("/", name)), Err: err}
}

// Open opens a file or directory for reading. A FIFO does not block it.
func (r *Root) Open(name string) (*os.File, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join("/", name)), nil
}

// OpenPath opens anything without reading or writing it (O_PATH), to pin it: for mounts.
func (r *Root) OpenPath(name string) (*os.File, error) {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join("/", name)), nil
}

// ReadFile reads a regular file of at most limit bytes; anything else there is an error, so that a
// hostile image cannot make us read a device or wait on a FIFO (CVE-2024-9676).
func (r *Root) ReadFile(name string, limit int64) ([]byte, error) {
	pinned, err := r.open(name, unix.O_PATH) // only to open some devices does something already
	if err != nil {
		return nil, err
	}
	defer unix.Close(pinned)
	var st unix.Stat_t
	if err := unix.Fstat(pinned, &st); err != nil {
		return nil, r.wrap("read", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, r.wrap("read", name, errors.New("not a regular file"))
	}
	fd, err := reopen(pinned, unix.O_RDONLY|unix.O_NOCTTY)
	if err != nil {
		return nil, r.wrap("read", name, err)
	}
	f := os.NewFile(uintptr(fd), path.Join("/", name))
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = r.wrap("read", name, fmt.Errorf("larger than %d bytes", limit))
	}
	return b, err
}

// Sub opens a directory below as a root of its own.
func (r *Root) Sub(name string) (*Root, error) {
	fd, err := r.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return newRoot(fd, path.Join(r.name, name), r.own, r.ids), nil
}

// Dir opens a directory below, to list and change it.
func (r *Root) Dir(name string) (*Dir, error) {
	fd, err := r.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &Dir{fd: fd, name: path.Join("/", name), own: r.own, ids: r.ids}, nil
}

// Stat describes what name leads to, links followed within the root.
func (r *Root) Stat(name string) (Info, error) {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return Info{}, err
	}
	defer unix.Close(fd)
	return infoAt(fd, "", path.Base(name), r.own, r.ids)
}

// Lstat describes name itself; links on the way to it are followed.
func (r *Root) Lstat(name string) (Info, error) {
	dir, base := split(name)
	d, err := r.Dir(dir)
	if err != nil {
		return Info{}, err
	}
	defer d.Close()
	return d.Lstat(base)
}

// split cuts a name into the directory to resolve and the entry in it; ".", ".." and "/" are entries of themselves.
func split(name string) (dir, base string) {
	name = strings.TrimRight(name, "/")
	dir, base = path.Split(name)
	if base == "" || base == "." || base == ".." {
		return name, "."
	}
	return dir, base
}

// MkdirAll opens the directory name and makes what is missing of it, each with perm and the owner;
// existing directories keep theirs. Links on the way are followed inside the root, also dangling ones.
func (r *Root) MkdirAll(name string, perm uint32, uid, gid int) (*Dir, error) {
	for n := 0; n < 40; n++ {
		d, err := r.mkdirAll(name, perm, uid, gid)
		var dangling *danglingError
		if !errors.As(err, &dangling) {
			return d, err
		}
		name = dangling.target
	}
	return nil, r.wrap("mkdir", name, unix.ELOOP)
}

// danglingError names what a link on the way leads to, where nothing is.
type danglingError struct{ target string }

func (e *danglingError) Error() string { return "link leads nowhere: " + e.target }

func (r *Root) mkdirAll(name string, perm uint32, uid, gid int) (*Dir, error) {
	d, err := r.Dir(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return d, err
	}
	if d, err = r.Dir("/"); err != nil {
		return nil, err
	}
	name = path.Clean("/" + name)
	for at := 1; at < len(name); {
		part, rest, _ := strings.Cut(name[at:], "/")
		at += len(part)
		next, err := r.descend(d, name[:at], part, func() error {
			if err := d.Mkdir(part, perm); err != nil {
				return err
			}
			return d.Chown(part, uid, gid)
		})
		d.Close()
		var dangling *danglingError
		if errors.As(err, &dangling) {
			dangling.target = path.Join(dangling.target, rest)
		}
		if err != nil {
			return nil, err
		}
		d = next
		at++
	}
	return d, nil
}

// descend opens the directory called part in d, by way of whole, its path inside the root, if it is a link there; what is missing it
// lets mkdir make.
func (r *Root) descend(d *Dir, whole, part string, mkdir func() error) (*Dir, error) {
	next, err := d.Dir(part)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(); err != nil && !errors.Is(err, fs.ErrExist) { // somebody else was quicker
			return nil, err
		}
		next, err = d.Dir(part)
	}
	if err == nil {
		return next, nil
	}
	target, lerr := d.Readlink(part)
	if lerr != nil {
		return nil, err
	}
	if next, err = r.Dir(whole); !errors.Is(err, fs.ErrNotExist) {
		return next, err
	}
	if !path.IsAbs(target) {
		target = path.Join(path.Dir(whole), target)
	}
	return nil, &danglingError{target}
}

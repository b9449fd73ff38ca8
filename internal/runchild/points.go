package runchild

import (
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Points makes what is to be mounted on in a root file system, and remembers what it made.
type Points struct {
	Stubs
	root    *rootfs.Root
	mounted uint64 // the mount that the root file system is
}

// NewPoints starts with a root file system that nothing is mounted in yet.
func NewPoints(root *rootfs.Root) (*Points, error) {
	p := &Points{root: root}
	var err error
	p.mounted, err = p.mountOf("/")
	return p, err
}

// mountOf identifies the mount that a path in the root is in.
func (p *Points) mountOf(name string) (uint64, error) {
	f, err := p.root.OpenPath(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var st unix.Statx_t
	err = unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err
}

const maxLinks = 40

// Make makes an empty directory or file, with its parents, if nothing is there. A link that leads nowhere is followed
// inside the root: what it leads to is made.
func (p *Points) Make(name string, dir bool) error {
	for range maxLinks {
		next, err := p.make(path.Clean("/"+name), dir)
		if next == "" {
			return err
		}
		name = next
	}
	return &fs.PathError{Op: "mount on", Path: name, Err: errors.New("too many links")}
}

// make returns what the name leads to if it is a link to nothing.
func (p *Points) make(name string, dir bool) (next string, err error) {
	if _, err := p.root.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	up, base := path.Split(name)
	if base == "" {
		return "", fs.ErrNotExist
	}
	if err := p.Make(up, true); err != nil {
		return "", err
	}
	parent, err := p.root.Dir(up)
	if err != nil {
		return "", err
	}
	defer parent.Close()
	if link, err := parent.Readlink(base); err == nil {
		if !path.IsAbs(link) {
			link = path.Join(up, link)
		}
		return link, nil
	}
	before, err := parent.Lstat(".")
	if err != nil {
		return "", err
	}
	if dir {
		err = parent.Mkdir(base, 0o755)
	} else {
		var f *os.File
		if f, err = parent.Create(base, 0o644); err == nil {
			err = f.Close()
		}
	}
	if errors.Is(err, fs.ErrExist) { // made by another command in this container a moment ago
		return name, nil
	}
	if err != nil {
		return "", err
	}
	after, err := parent.Lstat(".")
	if err != nil {
		return "", err
	}
	in, err := p.mountOf(up)
	if err != nil || in != p.mounted { // in something mounted before, and not in the container's own tree
		return "", err
	}
	p.Created = append(p.Created, Stub{name, dir})
	p.touched(Time{path.Clean(up), before.Mtime, after.Mtime})
	return "", nil
}

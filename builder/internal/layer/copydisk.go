package layer

import (
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// copyDisk fills a staging directory with a copy, for containers that live on: their files may change
// at any time, so nothing is shared with them but blocks that the file system copies on write.
type copyDisk struct {
	root    int // the staging directory
	o       Options
	noClone bool
	file    int // being written, or -1
}

func newCopyDisk(root int, o Options) *copyDisk { return &copyDisk{root: root, o: o, file: -1} }

// in is the staging directory of d.
func (c *copyDisk) in(d *dir) int {
	if d.up == nil {
		return c.root
	}
	return d.out
}

func (c *copyDisk) enter(d *dir) error {
	if err := unix.Mkdirat(c.in(d.up), d.name, 0o700); err != nil {
		return pathError("mkdir", d.n.path, err)
	}
	var err error
	if d.out, err = open(c.in(d.up), d.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW); err != nil {
		return pathError("open", d.n.path, err)
	}
	return nil
}

func (c *copyDisk) leave(d *dir) error {
	err := c.attributes(c.in(d), d.n)
	if err == nil {
		err = setTime(c.in(d), "", d.n, c.o)
	}
	if d.up != nil {
		unix.Close(d.out)
	}
	return err
}

func (c *copyDisk) begin(d *dir, name string, src int, n *node) (from, to int, err error) {
	c.file, err = unix.Openat(c.in(d), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, -1, pathError("create", n.path, err)
	}
	if n.st.Size > 0 && !c.noClone {
		err := unix.IoctlFileClone(c.file, src)
		if err == nil {
			return c.cloned(n)
		}
		c.noClone = true
	}
	return src, c.file, nil
}

// cloned goes on with a clone: that is what the layer holds, whatever happens to the original. Its size
// may differ from what was seen a moment ago.
func (c *copyDisk) cloned(n *node) (from, to int, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(c.file, &st); err != nil {
		return -1, -1, pathError("stat", n.path, err)
	}
	if st.Size > n.st.Size {
		err = unix.Ftruncate(c.file, n.st.Size)
	}
	return c.file, -1, err
}

func (c *copyDisk) end(_ *dir, _ string, _ int, n *node) error {
	if c.file < 0 {
		return nil // could not be made
	}
	err := c.attributes(c.file, n)
	if err == nil {
		err = setTime(c.file, "", n, c.o)
	}
	unix.Close(c.file)
	c.file = -1
	return err
}

// attributes sets owner, permissions and extended attributes as they are on the container's disk, in an
// order in which none undoes another.
func (c *copyDisk) attributes(fd int, n *node) error {
	if err := unix.Fchown(fd, int(n.st.Uid), int(n.st.Gid)); err != nil {
		return pathError("chown", n.path, err)
	}
	if err := unix.Fchmod(fd, n.st.Mode&0o7777); err != nil {
		return pathError("chmod", n.path, err)
	}
	for _, list := range [][]xattr{n.attrs, n.disk} {
		for _, x := range list {
			if err := unix.Fsetxattr(fd, x.name, x.value, 0); err != nil {
				return pathError("setxattr "+x.name, n.path, err)
			}
		}
	}
	return nil
}

func (c *copyDisk) special(d *dir, name string, n *node) error {
	var err error
	if n.kind() == unix.S_IFLNK {
		err = unix.Symlinkat(n.link, c.in(d), name)
	} else {
		err = unix.Mknodat(c.in(d), name, n.st.Mode&(unix.S_IFMT|0o777), int(n.st.Rdev))
	}
	if err == nil {
		err = unix.Fchownat(c.in(d), name, int(n.st.Uid), int(n.st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil && n.kind() != unix.S_IFLNK {
		err = unix.Fchmodat(c.in(d), name, n.st.Mode&0o7777, 0) // no link: made here a moment ago, in a private directory
	}
	if err == nil && n.recorded {
		err = c.record(d, name, n)
	}
	if err != nil {
		return pathError("create", n.path, err)
	}
	return setTime(c.in(d), name, n, c.o)
}

// record gives a link or FIFO just made the ownership record of its original.
func (c *copyDisk) record(d *dir, name string, n *node) error {
	fd, err := open(c.in(d), name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return rootfs.WriteOverride(fd, n.st.Mode, rootfs.Override{UID: int(n.uid), GID: int(n.gid), Mode: 0o777})
}

func (c *copyDisk) link(d *dir, name, first string) error {
	from := c.root
	parts := split(first)
	for i, part := range parts[:len(parts)-1] {
		next, err := open(from, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if i > 0 {
			unix.Close(from)
		}
		if err != nil {
			return pathError("open", first, err)
		}
		from = next
	}
	err := unix.Linkat(from, parts[len(parts)-1], c.in(d), name, 0)
	if len(parts) > 1 {
		unix.Close(from)
	}
	if err != nil {
		return pathError("link", d.child(name), err)
	}
	return nil
}

func (c *copyDisk) whiteout(d *dir, name string) error {
	if err := unix.Mknodat(c.in(d), name, unix.S_IFCHR, 0); err != nil {
		return pathError("create whiteout", d.child(name), err)
	}
	return nil
}

func (c *copyDisk) drop(*dir, string, bool) error { return nil }

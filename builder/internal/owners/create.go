package owners

import (
	"encoding/binary"
	"errors"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// own is a path to a descriptor of ours.
func own(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// tmpfile is the bit of O_TMPFILE that no other flag has.
const tmpfile = unix.O_TMPFILE &^ unix.O_DIRECTORY

// create is an open that may make a file. It is the kernel's when the file is there, or belongs to 0:0 once it is.
func (c *call) create(dirfd, arg int, how unix.OpenHow) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return failed(err)
	}
	if how.Flags&tmpfile != 0 {
		return c.createUnnamed(dirfd, name, how)
	}
	p, r := c.end(dirfd, name, how.Flags)
	if r != nil {
		return *r
	}
	return c.createAt(p, how)
}

// createAt creates at a place, which it takes over.
func (c *call) createAt(p *place, how unix.OpenHow) result {
	defer unix.Close(p.dir)
	if p.plain || !c.valid() {
		return proceed()
	}
	flags := int(how.Flags) | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(p.dir, p.name, flags, c.fileMode(p, uint32(how.Mode)))
	if errors.Is(err, unix.EEXIST) {
		return proceed()
	}
	return c.deliver(fd, err, p, how)
}

// end is the place of a name that is nobody's yet, behind links that lead to it.
func (c *call) end(dirfd int, name string, flags uint64) (*place, *result) {
	kernel := proceed()
	for range 40 {
		p, r := c.place(dirfd, name)
		if r != nil {
			return nil, r
		}
		if p.plain {
			unix.Close(p.dir)
			return nil, &kernel
		}
		link, err := os.Readlink(own(p.dir) + "/" + p.name)
		if errors.Is(err, unix.ENOENT) {
			return p, nil
		}
		unix.Close(p.dir)
		if err != nil || flags&(unix.O_EXCL|unix.O_NOFOLLOW) != 0 {
			return nil, &kernel
		}
		if !path.IsAbs(link) {
			dir, _ := path.Split(name)
			link = dir + link
		}
		name = link
	}
	return nil, &kernel
}

// createUnnamed is O_TMPFILE: name is the directory.
func (c *call) createUnnamed(dirfd int, name string, how unix.OpenHow) result {
	p, r := c.place(dirfd, name+"/x")
	if r != nil {
		return *r
	}
	defer unix.Close(p.dir)
	if p.plain || !c.valid() {
		return proceed()
	}
	fd, err := unix.Openat(p.dir, ".", int(how.Flags)|unix.O_CLOEXEC, c.fileMode(p, uint32(how.Mode)))
	return c.deliver(fd, err, p, how)
}

// deliver records the new file's owner and hands the file over.
func (c *call) deliver(fd int, err error, p *place, how unix.OpenHow) result {
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if err := c.give(fd, p, rootfs.Override{}); err != nil {
		return failed(err)
	}
	return c.hand(fd, how.Flags&unix.O_CLOEXEC != 0)
}

func creat(c *call) result {
	return c.create(unix.AT_FDCWD, 0, unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: c.n.args[1]})
}

func open(c *call) result {
	return c.create(unix.AT_FDCWD, 0, unix.OpenHow{Flags: uint64(uint32(c.n.args[1])), Mode: c.n.args[2]})
}

func openat(c *call) result {
	return c.create(c.arg(0), 1, unix.OpenHow{Flags: uint64(uint32(c.n.args[2])), Mode: c.n.args[3]})
}

// createConfined is create where the look-up is confined to a directory; of a name that is a link the kernel decides.
func (c *call) createConfined(dirfd, arg int, how unix.OpenHow) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return failed(err)
	}
	base, err := c.start(dirfd)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(base)
	dir, file := path.Split(name)
	if dir == "" {
		dir = "."
	}
	if file == "" || file == "." || file == ".." || how.Flags&tmpfile != 0 {
		return result{errno: unix.ENOSYS}
	}
	at, err := openat2(base, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: how.Resolve})
	if err != nil {
		return failed(err)
	}
	p, r := c.placeIn(at, file)
	if r != nil {
		return *r
	}
	return c.createAt(p, how)
}

// open2 is openat2, whose flags the filter cannot see. One that makes a file and also restricts the look-up, otherwise than to a directory,
// is answered as on a kernel without it: callers have a way for that.
func open2(c *call) result {
	var raw [24]byte
	if c.n.args[3] < uint64(len(raw)) {
		return proceed()
	}
	if err := c.readFull(c.n.args[2], raw[:]); err != nil {
		return failed(unix.EFAULT)
	}
	how := unix.OpenHow{Flags: binary.NativeEndian.Uint64(raw[:]), Mode: binary.NativeEndian.Uint64(raw[8:]), Resolve: binary.NativeEndian.Uint64(raw[16:])}
	switch {
	case how.Flags&(unix.O_CREAT|tmpfile) == 0, c.who().plain():
		return proceed()
	case how.Resolve&(unix.RESOLVE_BENEATH|unix.RESOLVE_IN_ROOT) != 0:
		return c.createConfined(c.arg(0), 1, how)
	case how.Resolve != 0:
		return result{errno: unix.ENOSYS}
	}
	return c.create(c.arg(0), 1, how)
}

package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A base is what lies below the changes: the directories of one or several layers, uppermost first, as
// overlay sees them. It needs no mount, so that committing takes no locks of the store before the end.
type base struct {
	dirs []string
	r    *reader
	buf  []byte // for comparing
}

// lookup returns the file that the layers below show at a path, or nil. No link is followed.
func (b *base) lookup(name string) (*node, error) {
	for _, dir := range b.dirs {
		n, hidden, err := b.in(dir, name)
		if n != nil || hidden || err != nil {
			return n, err
		}
	}
	return nil, nil
}

// in looks in one layer; hidden says that those below it must not be asked.
func (b *base) in(dir, name string) (n *node, hidden bool, err error) {
	fd, err := open(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, false, pathError("open", dir, err)
	}
	defer func() { unix.Close(fd) }()
	parts := split(name)
	for i, part := range parts {
		next, err := open(fd, part, unix.O_PATH|unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			return nil, hidden, nil
		}
		if err != nil {
			return nil, false, pathError("open", path.Join(dir, name), err)
		}
		unix.Close(fd)
		fd = next
		n, err := b.node(fd, name)
		switch {
		case err != nil:
			return nil, false, err
		case n.whiteout():
			return nil, true, nil
		case i == len(parts)-1:
			return n, true, nil
		case !n.isDir():
			return nil, true, nil
		}
		hidden = hidden || n.opaq
	}
	n, err = b.node(fd, name)
	return n, true, err
}

// node reads what a path descriptor is of.
func (b *base) node(fd int, name string) (*node, error) {
	n := &node{path: name}
	if err := unix.Fstat(fd, &n.st); err != nil {
		return nil, pathError("stat", name, err)
	}
	if kind := n.st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return n, b.r.special(fd, "", n) // the empty name is the file itself, a link too
	}
	b.r.meant(n)
	// A path descriptor gives no attributes, its name in /proc does.
	proc := fmt.Sprintf("/proc/self/fd/%d", fd)
	return n, b.r.xattrs(n, func(list []byte) (int, error) { return unix.Listxattr(proc, list) },
		func(key string, value []byte) (int, error) { return unix.Getxattr(proc, key, value) })
}

// names lists a directory of a base that is one whole tree.
func (b *base) names(name string) ([]string, error) {
	fd, err := openBelow(b.dirs[0], name)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// holds tells whether the file that a base of one whole tree has at a path has the content of the open file src.
func (b *base) holds(ctx context.Context, name string, src int) (bool, error) {
	dir, err := openBelow(b.dirs[0], path.Dir(name))
	if err != nil {
		return false, err
	}
	defer unix.Close(dir)
	fd, err := openSource(dir, path.Base(name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return false, pathError("open", name, err)
	}
	defer unix.Close(fd)
	if b.buf == nil {
		b.buf = make([]byte, 2*chunkSize)
	}
	return sameContent(ctx, src, fd, name, b.buf)
}

// sameContent compares two open files from their beginning.
func sameContent(ctx context.Context, a, b int, name string, buf []byte) (bool, error) {
	x, y := buf[:len(buf)/2], buf[len(buf)/2:]
	for at := int64(0); ; {
		n, err := readAt(a, x, at)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, pathError("read", name, err)
		}
		m, err := readAt(b, y, at)
		if err != nil {
			return false, pathError("read", name, err)
		}
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if n == 0 {
			return true, nil
		}
		at += int64(n)
	}
}

// readAt fills p as far as the file goes.
func readAt(fd int, p []byte, at int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(fd, p[n:], at+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || m == 0 {
			return n, err
		}
		n += m
	}
	return n, nil
}

// openBelow opens a directory below dir part by part: names may be longer together than the kernel takes at once,
// and no link may lead out.
func openBelow(dir, name string) (int, error) {
	fd, err := open(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY)
	for _, part := range split(name) {
		if err != nil {
			break
		}
		var next int
		next, err = open(fd, part, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		unix.Close(fd)
		fd = next
	}
	if err != nil {
		return -1, pathError("open", path.Join(dir, name), err)
	}
	return fd, nil
}

// split returns the parts of a clean path, none for the root.
func split(name string) []string {
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func open(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openSource opens what goes into a layer. To be committed is not to be used: the time of the last access stays, which
// the file system would have to write to disk for each file.
func openSource(dir int, name string, flags int) (int, error) {
	fd, err := open(dir, name, flags|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) { // a file of someone else
		return open(dir, name, flags)
	}
	return fd, err
}

package rootfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one look-up follows, as the kernel does.
const maxLinks = 40

// walkOpen is openat2(RESOLVE_IN_ROOT) for kernels and filters without it. It keeps one open descriptor
// for each directory it went down, so ".." goes back to where it came from, never to where a directory
// has been moved since, and never above the root.
func (r *Root) walkOpen(name string, flags int) (int, error) {
	stack := []int{r.fd}
	defer func() {
		for _, fd := range stack[1:] {
			unix.Close(fd)
		}
	}()
	rest, links := strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if n := len(stack); n > 1 {
				unix.Close(stack[n-1])
				stack = stack[:n-1]
			}
			continue
		}
		fd, err := unix.Openat(stack[len(stack)-1], part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, err
		}
		target, err := readlinkFd(fd)
		if err != nil { // not a link
			stack = append(stack, fd)
			if len(rest) > 0 && !isDir(fd) {
				return -1, unix.ENOTDIR
			}
			continue
		}
		unix.Close(fd)
		if links++; links > maxLinks {
			return -1, unix.ELOOP
		}
		if strings.HasPrefix(target, "/") {
			for _, fd := range stack[1:] {
				unix.Close(fd)
			}
			stack = stack[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return reopen(stack[len(stack)-1], flags)
}

// reopen opens what an O_PATH descriptor stands for. Procfs is the only way to do it for files; the link is the
// kernel's own, of a descriptor that was reached safely. Directories need no procfs.
func reopen(fd, flags int) (int, error) {
	if flags&unix.O_PATH != 0 {
		if flags&unix.O_DIRECTORY != 0 && !isDir(fd) {
			return -1, unix.ENOTDIR
		}
		return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	if isDir(fd) {
		return unix.Openat(fd, ".", flags|unix.O_CLOEXEC, 0)
	}
	if flags&unix.O_DIRECTORY != 0 {
		return -1, unix.ENOTDIR
	}
	return unix.Open(fdPath(fd), flags|unix.O_CLOEXEC, 0)
}

func isDir(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// readlinkFd reads the link that an O_PATH descriptor stands for; EINVAL or ENOENT if it is none.
func readlinkFd(fd int) (string, error) { return readlinkat(fd, "") }

func readlinkat(dir int, name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

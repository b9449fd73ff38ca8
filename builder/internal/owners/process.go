package owners

import (
	"bytes"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A task is what is known of a thread. The kernel's credentials are a thread's, so these are too.
type task struct {
	tgid   int
	leader *task // of a process's further threads
	pidfd  int   // of a leader; pins the process's number against reuse. -1 once it is dead
	who    identity
}

func (t *task) close() {
	if t.pidfd >= 0 {
		unix.Close(t.pidfd)
		t.pidfd = -1
	}
}

// process is the descriptor of the task's process.
func (t *task) process() int {
	if t.leader != nil {
		return t.leader.pidfd
	}
	return t.pidfd
}

// alive tells whether tid still is this task.
func (t *task) alive(tid int) bool {
	if unix.PidfdSendSignal(t.process(), 0, nil, 0) != nil {
		return false
	}
	return tid == t.tgid || unix.Tgkill(t.tgid, tid, 0) == nil
}

// few is how many tasks are remembered before the dead ones are dropped; processes hold a descriptor each.
const few = 200

// task returns the task of a thread. A new process is who its parent is, a new thread who its process is; before anybody
// changes, the children it has are written down (see adopt), so that this is exact.
func (s *Supervisor) task(tid int) *task {
	old := s.tasks[tid]
	if old != nil && old.alive(tid) {
		return old
	}
	if old != nil {
		old.close()
		delete(s.tasks, tid)
	}
	tgid, parent := relatives(tid)
	switch {
	case tid == s.first || tgid == 0:
		return s.remember(tid, identity{})
	case tid != tgid:
		leader := s.task(tgid)
		t := &task{tgid: tgid, leader: leader, pidfd: -1, who: leader.who}
		s.add(tid, t)
		return t
	}
	return s.remember(tid, s.inherit(tid, parent))
}

// remember writes down who a process is.
func (s *Supervisor) remember(pid int, who identity) *task {
	if old := s.tasks[pid]; old != nil {
		old.close()
		delete(s.tasks, pid)
	}
	t := &task{tgid: pid, pidfd: -1, who: who}
	if fd, err := unix.PidfdOpen(pid, 0); err == nil {
		t.pidfd = fd
		s.add(pid, t)
	}
	return t
}

// add notes a task, and drops the dead when there are many.
func (s *Supervisor) add(tid int, t *task) {
	if len(s.tasks) >= max(few, s.most) {
		s.forget()
		s.most = 2 * len(s.tasks)
	}
	s.tasks[tid] = t
}

// forget drops the dead.
func (s *Supervisor) forget() {
	for tid, t := range s.tasks {
		if !t.alive(tid) {
			t.close()
			delete(s.tasks, tid)
		}
	}
}

// inherit finds who a new process is. What processes leave behind when they end is written down then (see exitGroup); of an orphan whose
// parent was killed the process group may tell where it comes from.
func (s *Supervisor) inherit(tid, parent int) identity {
	if parent == s.first || parent == 0 {
		if group, err := unix.Getpgid(tid); err == nil && group != tid {
			if t := s.tasks[group]; t != nil { // dead or alive
				return t.who
			}
		}
		return identity{}
	}
	return s.task(parent).who
}

// adopt writes down who the children of a task are, before it becomes somebody else or ends. A process's first thread answers for those of all: they
// are taken for its own when they are seen.
func (s *Supervisor) adopt(tid int, t *task) {
	dir := "/proc/" + strconv.Itoa(t.tgid) + "/task"
	threads := []string{strconv.Itoa(tid)}
	if t.leader == nil {
		if d, err := os.Open(dir); err == nil {
			threads, _ = d.Readdirnames(-1)
			d.Close()
		}
	}
	for _, thread := range threads {
		text, err := os.ReadFile(dir + "/" + thread + "/children")
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				continue
			}
			if known := s.tasks[child]; known == nil || !known.alive(child) {
				s.adopt(child, s.remember(child, t.who))
			}
		}
	}
}

// status reads the kernel's summary of a thread, in one go and without what os does for files that can be waited for: it is read for each
// new process.
func status(tid int) ([]byte, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(tid)+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 8192) // the fields that we look for are among the first
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}

// relatives reads the process and its parent; zeroes if it is gone.
func relatives(tid int) (tgid, parent int) {
	text, err := status(tid)
	if err != nil {
		return 0, 0
	}
	return statusField(text, "\nTgid:"), statusField(text, "\nPPid:")
}

// inside is the number that a process has in its own pid namespace, 0 if it is gone or has the number that we see.
func inside(pid int) int {
	text, err := status(pid)
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\nNSpid:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	numbers := bytes.Fields(line)
	if len(numbers) < 2 {
		return 0
	}
	n, err := strconv.Atoi(string(numbers[len(numbers)-1]))
	if err != nil {
		return 0
	}
	return n
}

func statusField(text []byte, key string) int {
	_, rest, ok := bytes.Cut(text, []byte(key))
	if !ok {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
	if err != nil {
		return 0
	}
	return n
}

// umask reads the target's.
func (c *call) umask() uint32 {
	text, err := status(c.tid())
	if err != nil {
		return 0o022
	}
	_, rest, _ := bytes.Cut(text, []byte("\nUmask:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 8, 32)
	if err != nil {
		return 0o022
	}
	return uint32(n)
}

func (c *call) who() identity { return c.s.task(c.tid()).who }

// proc is a path of the target's below /proc.
func (c *call) proc(name string) string { return "/proc/" + strconv.Itoa(c.tid()) + "/" + name }

// base is the /proc path of the directory that a relative path starts from.
func (c *call) base(dirfd int) string {
	if dirfd == unix.AT_FDCWD {
		return c.proc("cwd")
	}
	return c.proc("fd/" + strconv.Itoa(dirfd))
}

// take returns a descriptor of ours for one of the target's, where that is cheaper than the way through /proc. A thread may have descriptors
// of its own, so only a process's first is asked. It fails for a number that a new process has got meanwhile.
func (c *call) take(dirfd int) (int, bool) {
	t := c.s.tasks[c.tid()]
	if dirfd < 0 || t == nil || t.leader != nil || t.pidfd < 0 {
		return -1, false
	}
	fd, err := unix.PidfdGetfd(t.pidfd, dirfd, 0)
	return fd, err == nil
}

// start opens the directory that a relative path starts from.
func (c *call) start(dirfd int) (int, error) {
	if fd, ok := c.take(dirfd); ok {
		return fd, nil
	}
	fd, err := unix.Open(c.base(dirfd), unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) && dirfd != unix.AT_FDCWD {
		err = unix.EBADF
	}
	return fd, err
}

// open finds a file as the target would and opens it without reading it (O_PATH). Nothing leads out of the target's root,
// and no magic link of /proc is followed but its own.
func (c *call) open(dirfd int, name string, nofollow, empty bool) (int, error) {
	flags := uint64(unix.O_PATH | unix.O_CLOEXEC)
	if nofollow {
		flags |= unix.O_NOFOLLOW
	}
	if fd, rest, ok := c.magic(name); ok && (rest != "" || !nofollow) {
		dirfd, name, empty = fd, rest, true
	}
	switch {
	case name == "" && !empty:
		return -1, unix.ENOENT
	case name == "":
		return c.start(dirfd)
	case name[0] != '/':
		fd, err := c.beneath(dirfd, name, flags)
		if err == nil || !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.EXDEV) {
			return fd, err
		}
		if name, err = c.absolute(dirfd, name); err != nil {
			return -1, err
		}
	}
	root, owned, err := c.root()
	if err != nil {
		return -1, err
	}
	if owned {
		defer unix.Close(root)
	}
	return openat2(root, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// follow replaces the name of a link by what it says: a log that leads to /dev/stdout leads to a link of the caller's own in the end, which
// the kernel would not follow for us.
func (c *call) follow(dirfd int, name *string) bool {
	fd, err := c.open(dirfd, *name, true, false)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return false
	}
	target := string(b[:n])
	if !path.IsAbs(target) {
		dir, _ := path.Split(*name)
		target = dir + target
	}
	*name = target
	return true
}

// beneath is the short way for relative paths without links.
func (c *call) beneath(dirfd int, name string, flags uint64) (int, error) {
	base, err := c.start(dirfd)
	if err != nil {
		return -1, err
	}
	defer unix.Close(base)
	return openat2(base, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
}

// absolute makes a relative path absolute, as the target sees it.
func (c *call) absolute(dirfd int, name string) (string, error) {
	dir, err := os.Readlink(c.base(dirfd))
	if err != nil {
		return "", err
	}
	root, err := os.Readlink(c.proc("root"))
	if err != nil {
		return "", err
	}
	dir = strings.TrimPrefix(dir, strings.TrimSuffix(root, "/"))
	return path.Join("/", dir) + "/" + name, nil
}

// root returns the target's root directory: the step's, which is kept open, until somebody calls chroot.
func (c *call) root() (fd int, owned bool, err error) {
	if !c.s.chrooted {
		return c.s.root, false, nil
	}
	fd, err = unix.Open(c.proc("root"), unix.O_PATH|unix.O_CLOEXEC, 0)
	return fd, true, err
}

// magic recognises names that begin with one of the caller's own links in /proc, which mean us when we look them up: what they lead
// to, and the rest of the name.
func (c *call) magic(name string) (dirfd int, rest string, ok bool) {
	switch name {
	case "/dev/stdin", "/dev/stdout", "/dev/stderr":
		return map[string]int{"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}[name], "", true
	}
	rest, ok = strings.CutPrefix(name, "/dev/fd/")
	if rest = "fd/" + rest; !ok {
		var who string
		if rest, ok = strings.CutPrefix(name, "/proc/"); !ok {
			return 0, "", false
		}
		if who, rest, _ = strings.Cut(rest, "/"); who != "self" && who != "thread-self" && !c.mineIs(who) {
			return 0, "", false
		}
	}
	link, rest, _ := strings.Cut(rest, "/")
	switch link {
	case "cwd":
		return unix.AT_FDCWD, rest, true
	case "root":
		return unix.AT_FDCWD, "/" + rest, true
	case "fd":
		number, rest, _ := strings.Cut(rest, "/")
		n, err := strconv.ParseUint(number, 10, 31)
		return int(n), rest, err == nil
	}
	return 0, "", false
}

// mineIs tells whether the caller knows itself by a number.
func (c *call) mineIs(number string) bool {
	n, err := strconv.Atoi(number)
	if err != nil {
		return false
	}
	own := inside(c.tid())
	return n == own || own == 0 && n == c.tid()
}

func openat2(dir int, name string, how *unix.OpenHow) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
			continue
		}
		return fd, err
	}
}

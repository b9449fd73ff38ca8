package owners

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// change applies f to who the caller is.
func (c *call) change(f func(i identity, privileged bool) (identity, unix.Errno), capability int) result {
	t := c.s.task(c.tid())
	who, errno := f(t.who, t.who.privileged() && (c.has(capability) || !c.s.executed))
	if errno != 0 {
		return result{errno: errno}
	}
	if !c.valid() {
		return proceed()
	}
	c.s.adopt(c.tid(), t)
	t.who = who
	return done(0)
}

// uids and gids apply a change of one of the sets.
func (c *call) uids(f func(s set, privileged bool) (set, unix.Errno)) result {
	return c.change(func(i identity, p bool) (identity, unix.Errno) {
		uid, errno := f(i.uid, p)
		if errno != 0 {
			return i, errno
		}
		return i.as(uid), 0
	}, unix.CAP_SETUID)
}

func (c *call) gids(f func(s set, privileged bool) (set, unix.Errno)) result {
	return c.change(func(i identity, p bool) (identity, unix.Errno) {
		var errno unix.Errno
		i.gid, errno = f(i.gid, p)
		return i, errno
	}, unix.CAP_SETGID)
}

func (c *call) one(s set, p bool) (set, unix.Errno) { return s.one(uint32(c.n.args[0]), p) }
func (c *call) two(s set, p bool) (set, unix.Errno) { return s.two(c.id(0), c.id(1), p) }
func (c *call) three(s set, p bool) (set, unix.Errno) {
	return s.three(c.id(0), c.id(1), c.id(2), p)
}
func (c *call) files(s set, p bool) (set, unix.Errno) { return s.files(uint32(c.n.args[0]), p), 0 }

func setuid(c *call) result    { return c.uids(c.one) }
func setgid(c *call) result    { return c.gids(c.one) }
func setreuid(c *call) result  { return c.uids(c.two) }
func setregid(c *call) result  { return c.gids(c.two) }
func setresuid(c *call) result { return c.uids(c.three) }
func setresgid(c *call) result { return c.gids(c.three) }

func setfsuid(c *call) result {
	was := c.who().uid.fs
	c.uids(c.files)
	return done(int64(was))
}

func setfsgid(c *call) result {
	was := c.who().gid.fs
	c.gids(c.files)
	return done(int64(was))
}

// mostGroups is how many groups a process may have. The kernel allows 65,536, but we keep a list for each process, in memory that a step must
// not exhaust.
const mostGroups = 1024

func setgroups(c *call) result {
	n := c.arg(0)
	switch {
	case n < 0 || n > 65536:
		return result{errno: unix.EINVAL}
	case n > mostGroups:
		return result{errno: unix.ENOMEM}
	}
	raw := make([]byte, 4*n)
	if err := c.readFull(c.n.args[1], raw); err != nil {
		return failed(unix.EFAULT)
	}
	groups := make([]uint32, n)
	for i := range groups {
		groups[i] = binary.NativeEndian.Uint32(raw[4*i:])
	}
	return c.change(func(i identity, p bool) (identity, unix.Errno) {
		if !p {
			return i, unix.EPERM
		}
		i.groups = groups
		return i, 0
	}, unix.CAP_SETGID)
}

func getuid(c *call) result  { return done(int64(c.who().uid.r)) }
func geteuid(c *call) result { return done(int64(c.who().uid.e)) }
func getgid(c *call) result  { return done(int64(c.who().gid.r)) }
func getegid(c *call) result { return done(int64(c.who().gid.e)) }

func getresuid(c *call) result { return c.show(c.who().uid) }
func getresgid(c *call) result { return c.show(c.who().gid) }

func (c *call) show(s set) result {
	for i, id := range []uint32{s.r, s.e, s.s} {
		if err := c.write(c.n.args[i], binary.NativeEndian.AppendUint32(nil, id)); err != nil {
			return failed(unix.EFAULT)
		}
	}
	return done(0)
}

func getgroups(c *call) result {
	groups, room := c.who().groups, c.arg(0)
	switch {
	case room == 0:
		return done(int64(len(groups)))
	case room < len(groups):
		return result{errno: unix.EINVAL}
	}
	var raw []byte
	for _, g := range groups {
		raw = binary.NativeEndian.AppendUint32(raw, g)
	}
	if err := c.write(c.n.args[1], raw); err != nil {
		return failed(unix.EFAULT)
	}
	return done(int64(len(groups)))
}

// execve notes what the file's setuid and setgid bits make of the caller. A script's mean nothing.
func execve(c *call) result { return c.exec(unix.AT_FDCWD, 0, false, false) }

func execveat(c *call) result {
	flags := c.arg(4)
	return c.exec(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0)
}

func (c *call) exec(dirfd, arg int, nofollow, empty bool) result {
	c.s.executed = true
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return proceed()
	}
	f, err := c.file(dirfd, name, nofollow, empty)
	if err != nil {
		return proceed()
	}
	defer f.close()
	mode := f.st.Mode
	if mode&unix.S_IFMT != unix.S_IFREG || mode&0o111 == 0 || !c.valid() {
		return proceed()
	}
	if mode&(unix.S_ISUID|unix.S_ISGID) != 0 && script(f.fd) {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	t := c.s.task(c.tid())
	t.who = t.who.run(f.meant.UID, f.meant.GID, mode)
	if t.leader != nil { // a thread that executes something becomes the process's first
		t.leader.who = t.who
	}
	return proceed()
}

// script tells whether a file begins as one.
func script(fd int) bool {
	f, err := os.Open(own(fd))
	if err != nil {
		return false
	}
	defer f.Close()
	var b [2]byte
	_, _ = f.Read(b[:])
	return string(b[:]) == "#!"
}

// exitGroup writes down who the children of somebody are, who will have another parent next: daemons make themselves orphans.
func exitGroup(c *call) result {
	if t := c.s.task(c.tid()); !t.who.initial() && c.valid() {
		c.s.adopt(c.tid(), t)
	}
	return proceed()
}

// prctl notes whether capabilities are to be kept when the last id 0 goes. The filter shows no other uses.
func prctl(c *call) result {
	const keepCaps, noFixup = 1 << 4, 1 << 2 // bits of PR_SET_SECUREBITS
	v := c.n.args[1]
	t := c.s.task(c.tid())
	switch c.arg(0) {
	case unix.PR_SET_KEEPCAPS:
		t.who.keep = v == 1
	case unix.PR_SET_SECUREBITS:
		t.who.keep = v&(keepCaps|noFixup) != 0
	}
	return proceed()
}

// chroot makes root directories differ from now on. The call itself is the kernel's.
func chroot(c *call) result {
	c.s.chrooted = true
	return proceed()
}

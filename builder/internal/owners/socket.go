package owners

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// getsockopt tells who the other end of a socket believes to be: servers (PostgreSQL, D-Bus) let clients in by that. The kernel
// notes the peer's process when the connection is made; who that is now is good enough, as nobody connects and then becomes
// somebody else before the server asks. The filter shows SO_PEERCRED and SO_PEERGROUPS only.
func getsockopt(c *call) result {
	peer, who, ok := c.peer(c.arg(0))
	if !ok {
		return proceed()
	}
	var raw []byte
	if c.arg(2) == unix.SO_PEERCRED {
		for _, v := range []uint32{uint32(peer), who.uid.e, who.gid.e} {
			raw = binary.NativeEndian.AppendUint32(raw, v)
		}
	} else {
		for _, g := range who.groups {
			raw = binary.NativeEndian.AppendUint32(raw, g)
		}
	}
	return c.option(raw, c.arg(2) == unix.SO_PEERCRED)
}

// option gives the value of a socket's option: cut to the room there is, or ERANGE and the room that it takes.
func (c *call) option(raw []byte, cut bool) result {
	var size [4]byte
	if err := c.readFull(c.n.args[4], size[:]); err != nil {
		return failed(unix.EFAULT)
	}
	room := int(int32(binary.NativeEndian.Uint32(size[:])))
	switch {
	case room < 0:
		return result{errno: unix.EINVAL}
	case !c.valid():
		return proceed()
	}
	if cut {
		raw = raw[:min(room, len(raw))]
	}
	binary.NativeEndian.PutUint32(size[:], uint32(len(raw)))
	if err := c.write(c.n.args[4], size[:]); err != nil {
		return failed(unix.EFAULT)
	}
	if len(raw) > room {
		return result{errno: unix.ERANGE}
	}
	if err := c.write(c.n.args[3], raw); err != nil {
		return failed(unix.EFAULT)
	}
	return done(0)
}

// peer returns the process at the other end of a socket, as the step numbers it, and who it is. Not ok: the kernel's answer stands, for
// want of a peer or of one in the step.
func (c *call) peer(fd int) (pid int, who identity, ok bool) {
	t := c.s.task(c.tid())
	socket, err := unix.PidfdGetfd(t.process(), fd, 0)
	if err != nil || !c.valid() {
		if err == nil {
			unix.Close(socket)
		}
		return 0, who, false
	}
	defer unix.Close(socket)
	cred, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || cred.Pid <= 0 {
		return 0, who, false
	}
	pid = inside(int(cred.Pid))
	if known := c.s.tasks[int(cred.Pid)]; known != nil { // dead or alive
		return pid, known.who, true
	}
	if pid == 0 {
		return 0, who, false
	}
	return pid, c.s.task(int(cred.Pid)).who, true
}

// Package owners lets a command that runs where only one id exists behave as if all did. It answers, for
// the processes of one RUN step, the system calls that set, take or show owners, through seccomp's user notification: the
// intended owner of a file goes into the record that package rootfs defines, devices become empty files with a record,
// and who a process believes to be is kept here.
//
// The supervisor must live in the user namespace of the step: from outside it could not write the record of a file
// that its owner may not read.
//
// It is no boundary. What keeps the step in is the user namespace and the kernel's own checks. Arguments behind pointers
// can change between our look and the kernel's, so the worst that a hostile step reaches is a wrong owner in its own
// image. Faked users are not kept from each other's files, and
// SCM_CREDENTIALS, /proc/PID/status and the owners of sockets made by bind(2), which are in no layer, know the one real id only.
package owners

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Options says what the processes of the step may do.
type Options struct {
	// Caps is the capability set of the step's root, a bit for each (CAP_CHOWN is bit 0).
	Caps uint64
	Log  *slog.Logger
}

// A Supervisor answers the calls of one step. It belongs to the goroutine that calls Serve.
type Supervisor struct {
	o        Options
	listener int
	first    int // process 1 of the step
	root     int // its root directory
	opened   int // the directory of our descriptors
	chrooted bool
	tasks    map[int]*task
	most     int // how many tasks may be remembered before the dead are looked for
	// memory holds records for file systems without extended attributes (tmpfs of older kernels, devpts).
	memory map[inode]kept
	seen   map[inode]sight
	full   bool // there have been more than mostKept of them
	buf    []byte
	names  []byte         // for a list of names of attributes
	now    call           // the one being answered: one at a time
	queue  []notification // taken, not yet answered
	// crowded says that calls of several threads were found waiting the last time.
	crowded bool
	// noGlimpse says that attributes cannot be asked for by a directory and a name in it.
	noGlimpse bool
	calls     int
	// executed says that something has been executed: until then who asks is our own process, which becomes the command's user.
	executed bool
}

type inode struct{ dev, ino uint64 }

// kept is a record in memory, and when the file came to be: an inode's number is used again when the file is gone, and the next must
// not inherit.
type kept struct {
	record rootfs.Override
	born   birth
}

// New returns a supervisor for the step whose process 1 is pid. It takes over the listener's descriptor; Serve closes it.
func New(listener, pid int, o Options) (*Supervisor, error) {
	root, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(listener)
		return nil, fmt.Errorf("supervising owners: opening the step's root: %w", err)
	}
	opened, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("supervising owners: opening the list of open files: %w", err), unix.Close(root), unix.Close(listener))
	}
	preferHandover(listener)
	return &Supervisor{
		o: o, listener: listener, first: pid, root: root, opened: opened, tasks: map[int]*task{},
		memory: map[inode]kept{}, seen: map[inode]sight{}, buf: make([]byte, 2*unix.PathMax),
		names: make([]byte, 65536), // no list is longer
	}, nil
}

// Serve answers calls until no process of the step is left.
func (s *Supervisor) Serve() error {
	runtime.LockOSThread() // one thread: the kernel can hand over between it and the target
	defer runtime.UnlockOSThread()
	defer s.close()
	begun := time.Now() //nolint:forbidigo // a duration for the log
	// Waiting by receiving costs a system call less for each call, where it ends by itself.
	wait, ends := false, receivingEnds()
	for {
		if wait || !ends {
			more, err := s.wait(-1)
			if !more {
				s.o.Log.Debug("supervised owners", "calls", s.calls, "after", time.Since(begun))
				return err
			}
		}
		// An error says that a target was killed meanwhile, or that the last one is gone.
		var n notification
		if wait = receive(s.listener, &n) != nil; wait {
			continue
		}
		s.queue = append(s.queue[:0], n)
		for i := 0; i < len(s.queue); i++ {
			if s.calls++; s.crowded || s.calls%alone == 0 {
				s.drain()
			}
			s.answer(&s.queue[i])
		}
		s.crowded = len(s.queue) > 1
	}
}

// alone is how often a step that seems to make one call at a time is looked at for more: to look costs as much as a twentieth of a call.
const alone = 4

// drain takes all calls that wait. One that nobody has taken fails with EINTR when its caller gets a signal, even one like stat, which
// never does so without us.
func (s *Supervisor) drain() {
	var n notification
	for {
		if more, err := s.wait(0); !more || err != nil || receive(s.listener, &n) != nil {
			return
		}
		s.queue = append(s.queue, n)
	}
}

// wait waits for the next call. There will be no more once the last process is gone.
func (s *Supervisor) wait(timeout int) (more bool, err error) {
	for {
		p := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
		_, err := unix.Poll(p, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return false, fmt.Errorf("supervising owners: %w", err)
		}
		return p[0].Revents&unix.POLLIN != 0, nil // else POLLHUP
	}
}

func (s *Supervisor) close() {
	for _, t := range s.tasks {
		t.close()
	}
	unix.Close(s.root)
	unix.Close(s.opened)
	unix.Close(s.listener)
}

// answer handles one call. A handler that fails in a way that is not the target's fault lets the kernel decide.
func (s *Supervisor) answer(n *notification) {
	h := handlers(n.nr)
	if h == nil {
		_ = respond(s.listener, n.id, 0, 0, true)
		return
	}
	s.now = call{s: s, n: n}
	r := h(&s.now)
	_ = respond(s.listener, n.id, r.value, r.errno, r.proceed)
}

// A result is the answer to a call: a value, an error, or that the kernel shall go on with it.
type result struct {
	value   int64
	errno   unix.Errno
	proceed bool
}

func proceed() result { return result{proceed: true} }

func done(value int64) result { return result{value: value} }

// failed is an error of ours or of the kernel's as the target's.
func failed(err error) result {
	var errno unix.Errno
	if !errors.As(err, &errno) || errno == 0 {
		errno = unix.EIO
	}
	return result{errno: errno}
}

// A call is one system call of a target.
type call struct {
	s *Supervisor
	n *notification
}

func (c *call) tid() int { return int(c.n.pid) }

// arg returns an argument of 32 bits: descriptors, flags, ids.
func (c *call) arg(i int) int { return int(int32(c.n.args[i])) }

// id is an argument that is a user or group; -1 stays.
func (c *call) id(i int) int64 {
	if v := uint32(c.n.args[i]); v != none {
		return int64(v)
	}
	return -1
}

func (c *call) has(capability int) bool { return c.s.o.Caps&(1<<capability) != 0 }

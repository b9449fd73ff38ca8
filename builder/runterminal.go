package builder

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal is a pseudo-terminal between a command and the caller's streams.
type terminal struct {
	master, slave *os.File
	out           sink
	drained       chan struct{}
	connected     bool
	undo          []func()
}

// sink passes on what a command writes, and takes the rest once that fails: a command whose terminal nobody reads would wait for ever.
type sink struct {
	to  io.Writer
	err error // the first one; to be read once nothing is written any more
}

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.to.Write(p)
	}
	return len(p), nil
}

// openTerminal makes a pseudo-terminal of the size that the caller's has, if it has one.
func openTerminal() (*terminal, error) {
	m, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	fd := int(m.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		m.Close()
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	// By descriptor: what is mounted on /dev/pts here may be another instance than that of /dev/ptmx.
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		m.Close()
		return nil, fmt.Errorf("making a terminal: %w", errno)
	}
	return &terminal{master: m, slave: os.NewFile(peer, "/dev/pts/"+strconv.Itoa(n)), drained: make(chan struct{})}, nil
}

// connect starts copying between the terminal and the caller's streams. A caller's terminal is put into raw mode, and its
// size is followed, until close.
func (t *terminal) connect(o Stdio) error {
	if o.In != nil && term.IsTerminal(int(o.In.Fd())) {
		old, err := term.MakeRaw(int(o.In.Fd()))
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		t.undo = append(t.undo, func() { _ = term.Restore(int(o.In.Fd()), old) })
		t.follow(o.In)
	}
	t.connected = true
	t.out.to = o.Out
	go func() {
		_, _ = io.Copy(&t.out, t.master) // its error is the end of the terminal
		close(t.drained)
	}()
	if o.In != nil {
		go func() { // it may wait for input longer than the command runs, which does no harm
			_, _ = io.Copy(t.master, o.In)
			_, _ = t.master.Write([]byte{4}) // end of file
		}()
	}
	return nil
}

// follow gives the terminal the size of another one, now and when it changes.
func (t *terminal) follow(of *os.File) {
	resize := func() {
		if size, err := unix.IoctlGetWinsize(int(of.Fd()), unix.TIOCGWINSZ); err == nil {
			_ = unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
		}
	}
	resize()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	t.undo = append(t.undo, func() { signal.Stop(changed); close(changed) })
	go func() {
		for range changed {
			resize()
		}
	}()
}

// close ends the connection, after all that the command wrote has been passed on. The error says that it could not be.
func (t *terminal) close() error {
	t.slave.Close()
	if t.connected {
		<-t.drained
	}
	for _, f := range t.undo {
		f()
	}
	t.master.Close()
	if t.out.err != nil {
		return fmt.Errorf("passing on the command's output: %w", t.out.err)
	}
	return nil
}

package runchild

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"

	"golang.org/x/sys/unix"
)

// A console is the terminal of a container between the runtime, which hands it over through a socket, and the standard streams, which are
// a terminal as well. crun, left to connect the two itself, would never tell the container that the size has changed.
type console struct {
	socket int
	ended  chan struct{}
}

// ConsoleSocket is where the runtime finds the socket.
func (r *RuntimeRequest) ConsoleSocket() string { return path.Join(r.Stage, "console") }

// newConsole makes the socket in the directory stage, and the standard streams the terminal whose changes this process hears of.
func newConsole(stage string) (c *console, err error) {
	if _, err := unix.Setsid(); err != nil {
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	if err := unix.IoctlSetInt(0, unix.TIOCSCTTY, 0); err != nil {
		return nil, fmt.Errorf("taking the terminal: %w", err)
	}
	c = &console{ended: make(chan struct{})}
	if c.socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("making a socket for the terminal: %w", err)
	}
	dir, err := os.Open(stage)
	if err == nil {
		defer dir.Close()
		err = unix.Bind(c.socket, &unix.SockaddrUnix{Name: fdPath(dir) + "/console"}) // the directory's own name may be too long
	}
	if err == nil {
		err = unix.Listen(c.socket, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("making a socket for the terminal: %w", err)
	}
	go c.serve()
	return c, nil
}

// serve connects the terminal, once the runtime has handed it over, until it ends.
func (c *console) serve() {
	defer close(c.ended)
	master, err := c.receive()
	if err != nil {
		return // the runtime has not come to that, and says why
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		for {
			if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
				_ = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, size)
			}
			<-changed
		}
	}()
	go func() { _, _ = io.Copy(master, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, master) // its error is the end of the terminal
}

// receive waits for the terminal.
func (c *console) receive() (*os.File, error) {
	conn, _, err := unix.Accept4(c.socket, unix.SOCK_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		conn, _, err = unix.Accept4(c.socket, unix.SOCK_CLOEXEC)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(conn)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(conn, make([]byte, 4096), oob, unix.MSG_CMSG_CLOEXEC)
	for errors.Is(err, unix.EINTR) {
		_, n, _, _, err = unix.Recvmsg(conn, make([]byte, 4096), oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no terminal came")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("no terminal came")
	}
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// drain waits until everything is passed on that a container which has ended has written.
func (c *console) drain() {
	_ = unix.Shutdown(c.socket, unix.SHUT_RDWR) // if nobody has come yet, nobody will
	<-c.ended
}

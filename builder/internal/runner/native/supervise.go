package native

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/owners"
	"github.com/slipway-build/slipway/internal/runchild"
)

// A supervision is the connection to a command's supervisor of owners; nil is none.
type supervision struct {
	ours, theirs *os.File
	caps         uint64
	ended        chan error
}

// supervise prepares one, if it is wanted.
func supervise(wanted, devices bool, req *runchild.Request) (*supervision, error) {
	if !wanted {
		return nil, nil //nolint:nilnil // a nil supervision is none
	}
	if err := owners.Available(); err != nil {
		return nil, fmt.Errorf("answering for owners with one id: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("supervising owners: %w", err)
	}
	req.Owners, req.SetGroups = owners.Filter(), true
	caps := req.Caps
	if !devices {
		caps &^= 1 << unix.CAP_MKNOD
	}
	return &supervision{
		ours: os.NewFile(uintptr(pair[0]), "supervision"), theirs: os.NewFile(uintptr(pair[1]), "supervision"),
		caps: caps, ended: make(chan error, 1),
	}, nil
}

func (s *supervision) files() []*os.File {
	if s == nil {
		return nil
	}
	return []*os.File{s.theirs}
}

// start supervises the step whose process 1 is pid, until its last process is gone.
func (s *supervision) start(pid int, log *slog.Logger) {
	if s == nil {
		return
	}
	s.theirs.Close()
	go func() { s.ended <- s.serve(pid, log) }()
}

func (s *supervision) serve(pid int, log *slog.Logger) error {
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(int(s.ours.Fd()), make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return fmt.Errorf("supervising owners: %w", err)
	}
	if n == 0 {
		return nil // process 1 ended early and says so itself
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		return errors.New("supervising owners: no listener came")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return errors.New("supervising owners: no listener came")
	}
	sup, err := owners.New(fds[0], pid, owners.Options{Caps: s.caps, Log: log})
	if err != nil {
		return err
	}
	return sup.Serve()
}

// wait returns when the supervisor has ended, which it does with the last process.
func (s *supervision) wait() error {
	if s == nil {
		return nil
	}
	return <-s.ended
}

func (s *supervision) close() {
	if s != nil {
		s.ours.Close()
		s.theirs.Close()
	}
}

package runchild

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Hook is a program that runs at some point of a command's life, told of it by a [State] on its standard input. Its environment is Env
// alone.
type Hook struct {
	Path string
	Args []string // the program's name first; empty is Path
	Env  []string
	// Timeout is in seconds, 0 for none: the program is then killed, and has failed.
	Timeout int
}

// State is what hooks are told, as the OCI runtime specification has it.
type State struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Status      string            `json:"status"`
	PID         int               `json:"pid,omitempty"`
	Bundle      string            `json:"bundle"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// At is the state with a status, "creating", "created", "running" or "stopped", and the number of process 1, 0 for none.
func (s State) At(status string, pid int) State {
	s.Status, s.PID = status, pid
	return s
}

// RunHooks runs hooks one after another until one fails. They are killed when stop is closed, which may be nil, and with the calling
// thread. cred is whom they run as, nil for as us.
func RunHooks(stage string, list []Hook, s State, stop <-chan struct{}, cred *syscall.Credential) error {
	for _, h := range list {
		if err := h.run(s, stop, cred); err != nil {
			return fmt.Errorf("%s hook %s: %w", stage, h.Path, err)
		}
	}
	return nil
}

// maxSaid is how much of what a hook prints is kept, for the error.
const maxSaid = 4096

func (h Hook) run(s State, stop <-chan struct{}, cred *syscall.Credential) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inW.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, inR.Close())
	}
	defer outR.Close()
	argv := h.Args
	if len(argv) == 0 {
		argv = []string{h.Path}
	}
	pid, err := syscall.ForkExec(h.Path, argv, &syscall.ProcAttr{
		Dir: "/", Env: append([]string{}, h.Env...), Files: []uintptr{inR.Fd(), outW.Fd(), outW.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: cred},
	})
	inR.Close()
	outW.Close()
	if err != nil {
		return err
	}
	go func() { // the pipe may be too small for it, and nobody must read it
		_, _ = inW.Write(text)
		inW.Close()
	}()
	said := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(outR, maxSaid))
		said <- text
		_, _ = io.Copy(io.Discard, outR)
	}()
	err = h.wait(pid, stop)
	_ = outR.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) //nolint:forbidigo // what it has started may hold the pipe for ever
	if words := bytes.TrimSpace(<-said); err != nil && len(words) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.ToValidUTF8(string(words), "?"))
	}
	return err
}

// wait waits for the program, or kills it with its group. It is not reaped before, so that its number stays its own.
func (h Hook) wait(pid int, stop <-chan struct{}) error {
	ended := make(chan struct{})
	go func() {
		for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		}
		close(ended)
	}()
	var limit <-chan time.Time
	if h.Timeout > 0 {
		t := time.NewTimer(time.Duration(h.Timeout) * time.Second)
		defer t.Stop()
		limit = t.C
	}
	var why error
	select {
	case <-ended:
	case <-limit:
		why = fmt.Errorf("it did not end within %d s", h.Timeout)
	case <-stop:
		why = errors.New("interrupted")
	}
	if why != nil {
		_ = unix.Kill(-pid, unix.SIGKILL)
		<-ended
	}
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); !errors.Is(err, unix.EINTR) {
			if err != nil {
				return err
			}
			break
		}
	}
	switch {
	case why != nil:
		return why
	case ws.Signaled():
		return fmt.Errorf("signal %d (%s)", ws.Signal(), unix.SignalName(ws.Signal()))
	case ws.ExitStatus() != 0:
		return fmt.Errorf("exit status %d", ws.ExitStatus())
	}
	return nil
}

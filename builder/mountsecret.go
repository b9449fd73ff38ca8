package builder

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/sshagent"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// A Secret is something that commands may see but images never hold: a file, or a variable of the caller.
type Secret struct {
	ID string
	// File is a path of the host; Env the name of a variable. One of them is set.
	File, Env string
}

const (
	secretFormat = "incorrect secret flag format: should be --secret id=foo,src=bar"
	maxSecret    = 500 << 10
)

// ParseSecret reads a value of --secret, "id=ID[,src=FILE_OR_VAR][,env=VAR][,type=file|env]" (cli.md §8.16): without a
// source it is the variable called ID if there is one, else the file. A file must be there already.
func ParseSecret(text string, environ func(string) (string, bool)) (Secret, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %w", secretFormat, err)
	}
	var s Secret
	kind, source := "", ""
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok || value == "" {
			return s, errors.New(secretFormat)
		}
		switch strings.ToLower(key) {
		case "id":
			s.ID = value
		case "src", "source":
			source = value
		case "env":
			s.Env = value
		case "type":
			if kind = value; value != "file" && value != "env" {
				return s, fmt.Errorf("invalid secret type %q: must be file or env", value)
			}
		default:
			return s, errors.New(secretFormat)
		}
	}
	if s.ID == "" {
		return s, errors.New(secretFormat)
	}
	return s.located(kind, source, environ)
}

// located decides between file and variable.
func (s Secret) located(kind, source string, environ func(string) (string, bool)) (Secret, error) {
	_, set := environ(first(source, s.ID))
	switch {
	case s.Env != "" && (kind == "file" || source != ""):
		return s, errors.New(secretFormat)
	case s.Env != "":
	case kind == "env", kind == "" && source == "" && set:
		s.Env = first(source, s.ID)
	default:
		s.File = first(source, s.ID)
	}
	if s.File == "" {
		return s, nil
	}
	st, err := os.Stat(s.File)
	if err != nil {
		return s, fmt.Errorf("could not read secret %s: failed to %w", s.ID, err)
	}
	if st.IsDir() {
		return s, fmt.Errorf("secret %s: %s is a directory", s.ID, s.File)
	}
	return s, nil
}

// value reads a secret; ok is false if it is a variable that is not set.
func (s Secret) value(environ func(string) (string, bool)) (b []byte, ok bool, err error) {
	if s.Env != "" {
		v, ok := environ(s.Env)
		return []byte(v), ok, tooLarge(s.ID, int64(len(v)))
	}
	f, err := os.Open(s.File)
	if err != nil {
		return nil, false, fmt.Errorf("reading secret %s: %w", s.ID, err)
	}
	defer f.Close()
	if b, err = io.ReadAll(io.LimitReader(f, maxSecret+1)); err != nil {
		return nil, false, fmt.Errorf("reading secret %s: %w", s.ID, err)
	}
	return b, true, tooLarge(s.ID, int64(len(b)))
}

func tooLarge(id string, n int64) error {
	if n > maxSecret {
		return fmt.Errorf("secret %s is larger than %d bytes", id, maxSecret)
	}
	return nil
}

// secret shows a secret to the command: as a file that exists in memory only, as a variable, or both.
func (p *mounting) secret(m Mount) error {
	var value []byte
	found := false
	if i := slices.IndexFunc(p.o.Secrets, func(s Secret) bool { return s.ID == m.ID }); i >= 0 {
		var err error
		if value, found, err = p.o.Secrets[i].value(p.w.s.o.Environ); err != nil {
			return err
		}
	}
	if !found && m.Required {
		return fmt.Errorf("secret %s: not found: secret required but no secret with id %q found", m.ID, m.ID)
	}
	if m.Env != "" {
		if strings.ContainsRune(string(value), 0) {
			return fmt.Errorf("secret %s has a zero byte and cannot be a variable", m.ID)
		}
		p.env = append(p.env, m.Env+"="+string(value))
	}
	if m.Target == "" || !found {
		return nil
	}
	mode := uint32(0o400)
	if m.Mode != nil {
		mode = *m.Mode
	}
	p.files = append(p.files, runner.File{Target: m.Target, Data: value, Mode: mode, UID: m.UID, GID: m.GID})
	return nil
}

// An Agent is an SSH agent that commands may be given: the socket of one, or key files that are read by this process.
type Agent struct {
	ID    string
	Paths []string
}

// ParseAgent reads a value of --ssh, "ID[=SOCKET|KEY[,KEY…]]"; without a path it is the caller's agent.
func ParseAgent(text string, environ func(string) (string, bool)) (Agent, error) {
	id, paths, ok := strings.Cut(text, "=")
	a := Agent{ID: id}
	switch {
	case id == "":
		return a, fmt.Errorf("invalid ssh value %q: want ID[=SOCKET|KEY[,KEY...]]", text)
	case ok && paths != "":
		a.Paths = strings.Split(paths, ",")
		for _, name := range a.Paths {
			if _, err := os.Stat(name); err != nil {
				return a, fmt.Errorf("ssh %s: %w", id, err)
			}
		}
	default:
		socket, _ := environ("SSH_AUTH_SOCK")
		if socket == "" {
			return a, fmt.Errorf("ssh %s: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set", id)
		}
		a.Paths = []string{socket}
	}
	return a, nil
}

// agent forwards an SSH agent, and nothing else of the host.
func (p *mounting) agent(m Mount) error {
	p.agents++
	p.socket = first(p.socket, m.Target)
	i := slices.IndexFunc(p.o.Agents, func(a Agent) bool { return a.ID == m.ID })
	if i < 0 {
		if m.Required {
			return fmt.Errorf("no SSH key %q forwarded from the client", m.ID)
		}
		return nil
	}
	keys, err := sshagent.Open(p.o.Agents[i].Paths)
	if err != nil {
		return fmt.Errorf("ssh %s: %w", m.ID, err)
	}
	dir, err := os.OpenFile(p.job, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, dir.Close)
	name := fmt.Sprintf("agent.%d", p.agents)
	stop, err := keys.Serve(dir, name)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, stop)
	mode := uint32(0o600)
	if m.Mode != nil {
		mode = *m.Mode
	}
	socket := filepath.Join(p.job, name)
	if err := unix.Chmod(socket, mode); err != nil {
		return err
	}
	if err := p.giveSocket(name, m); err != nil {
		return err
	}
	p.list = append(p.list, specs.Mount{Destination: m.Target, Type: "bind", Source: socket, Options: []string{"bind", "rprivate", "nosuid", "nodev", "noexec"}})
	return nil
}

// giveSocket gives an agent's socket to its owner, in the container's numbers (see reachable). Where one id exists it is recorded, if sockets
// can keep that there.
func (p *mounting) giveSocket(name string, m Mount) error {
	if m.UID == 0 && m.GID == 0 {
		return nil
	}
	if !oneID() {
		return os.Chown(filepath.Join(p.job, name), int(m.UID), int(m.GID))
	}
	r, err := rootfs.Open(p.job, rootfs.Record)
	if err != nil {
		return err
	}
	defer r.Close()
	d, err := r.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Chown(name, int(m.UID), int(m.GID)); err != nil {
		p.w.s.o.Log.Debug("the agent's socket stays root's", "error", err)
	}
	return nil
}

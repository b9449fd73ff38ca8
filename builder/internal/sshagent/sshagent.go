// Package sshagent gives a command the use of SSH keys without the keys: a socket on which an agent answers that lists
// identities and signs, and refuses all else. What stands behind it is the caller's agent, or key files that are read here.
package sshagent

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Keys is where signatures come from.
type Keys struct {
	socket  string // of another agent, or
	keyring agent.Agent
}

const maxKey = 100 << 10

// Open takes the socket of an agent, or private key files, which must not need a passphrase.
func Open(paths []string) (*Keys, error) {
	if len(paths) == 0 {
		return nil, errors.New("no agent socket and no key")
	}
	k := &Keys{keyring: agent.NewKeyring()}
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, err
		}
		if st.Mode()&os.ModeSocket != 0 {
			if len(paths) > 1 {
				return nil, errors.New("only a single socket, or key files, can be given")
			}
			return &Keys{socket: p}, nil
		}
		if err := k.add(p, st.Size()); err != nil {
			return nil, fmt.Errorf("reading SSH key %s: %w", p, err)
		}
	}
	return k, nil
}

func (k *Keys) add(name string, size int64) error {
	if size > maxKey {
		return fmt.Errorf("larger than %d bytes", maxKey)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(text)
	if err != nil {
		return err
	}
	return k.keyring.Add(agent.AddedKey{PrivateKey: key})
}

// Serve answers on a socket that it makes in the directory dir, until the returned function is called.
func (k *Keys) Serve(dir *os.File, name string) (stop func() error, err error) {
	// Through the descriptor: the path of a socket must be short.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)})
	if err != nil {
		return nil, fmt.Errorf("making the agent's socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // the directory may be gone by then
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go k.answer(conn)
		}
	}()
	return l.Close, nil
}

func (k *Keys) answer(conn net.Conn) {
	defer conn.Close()
	a := k.keyring
	if k.socket != "" {
		up, err := net.Dial("unix", k.socket)
		if err != nil {
			return
		}
		defer up.Close()
		a = agent.NewClient(up)
	}
	_ = agent.ServeAgent(signer{a}, conn) // its end is the end of the connection
}

// signer lists and signs. A command has no business with adding, removing or locking keys.
type signer struct{ a agent.Agent }

var errRefused = errors.New("only listing and signing is forwarded")

func (s signer) List() ([]*agent.Key, error) { return s.a.List() }

func (s signer) Sign(key ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	return s.SignWithFlags(key, data, 0)
}

func (s signer) SignWithFlags(key ssh.PublicKey, data []byte, flags agent.SignatureFlags) (*ssh.Signature, error) {
	if x, ok := s.a.(agent.ExtendedAgent); ok {
		return x.SignWithFlags(key, data, flags)
	}
	return s.a.Sign(key, data)
}

func (signer) Add(agent.AddedKey) error                 { return errRefused }
func (signer) Remove(ssh.PublicKey) error               { return errRefused }
func (signer) RemoveAll() error                         { return errRefused }
func (signer) Lock([]byte) error                        { return errRefused }
func (signer) Unlock([]byte) error                      { return errRefused }
func (signer) Signers() ([]ssh.Signer, error)           { return nil, errRefused }
func (signer) Extension(string, []byte) ([]byte, error) { return nil, agent.ErrExtensionUnsupported }

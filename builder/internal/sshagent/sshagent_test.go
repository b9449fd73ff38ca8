package sshagent

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// A command may list and sign with keys of a file, and with those of the caller's agent, and can do nothing else to it.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	first := serve(t, dir, "first", file)
	check(t, first)
	check(t, serve(t, dir, "second", first)) // forwarded to the first
}

func serve(t *testing.T, dir, name string, paths ...string) string {
	t.Helper()
	keys, err := Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := keys.Serve(d, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); d.Close() })
	return filepath.Join(dir, name)
}

func check(t *testing.T, socket string) {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a := agent.NewClient(conn)
	list, err := a.List()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d keys, %v", len(list), err)
	}
	sig, err := a.Sign(list[0], []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if err := list[0].Verify([]byte("text"), sig); err != nil {
		t.Error(err)
	}
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	for name, err := range map[string]error{
		"add": a.Add(agent.AddedKey{PrivateKey: other}), "remove": a.Remove(list[0]), "remove all": a.RemoveAll(),
		"lock": a.Lock([]byte("x")), "unlock": a.Unlock([]byte("x")),
	} {
		if err == nil {
			t.Errorf("%s was let through", name)
		}
	}
	if list, err := a.List(); err != nil || len(list) != 1 {
		t.Errorf("%d keys are left, %v", len(list), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	junk := filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{nil, {junk}, {junk + "-missing"}, {"/dev/null"}} {
		if _, err := Open(paths); err == nil {
			t.Errorf("%v was taken", paths)
		}
	}
}

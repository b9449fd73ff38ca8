package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

// TestPullExtendsStart: systemd is told that a pull takes its time, also when there is nothing to pull.
func TestPullExtendsStart(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, as nobody enters a user namespace for this process")
	}
	dir := t.TempDir()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "notify"))
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	args := []string{"slipway", "--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs"}
	if code := run(append(args, "pull", "oci:"+filepath.Join(dir, "nothing")), null, null, null); code != 125 {
		t.Fatalf("exit status %d", code)
	}
	text := make([]byte, 100)
	n, err := l.Read(text)
	if err != nil || string(text[:n]) != moreTime {
		t.Errorf("got %q, %v", text[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody"))
	if code := run(append(args, "pull", "oci:"+filepath.Join(dir, "nothing")), null, null, null); code != 125 {
		t.Fatalf("exit status %d where nobody listens", code)
	}
}

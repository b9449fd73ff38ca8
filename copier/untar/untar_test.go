package untar

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// stream is a tar of entries without content.
func stream(t *testing.T, entries ...*tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// emptyRoot is a new directory, open as a root.
func emptyRoot(t *testing.T) (*rootfs.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := rootfs.Open(dir, rootfs.Apply)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// Attributes that steer overlayfs, or that say who owns a file in storage, do not come from a stream; others do.
func TestControlAttributes(t *testing.T) {
	t.Parallel()
	records := map[string]string{}
	for _, key := range []string{"trusted.overlay.opaque", "user.overlay.redirect", "user.containers.override_stat", "user.mine"} {
		records[xattrRecord+key] = "y"
	}
	b := stream(t, &tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid(), PAXRecords: records})
	root, dir := emptyRoot(t)
	if _, err := Untar(context.Background(), b, root, Options{Whiteouts: Overlay}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(filepath.Join(dir, "d"), buf)
	if err != nil {
		t.Skip("no extended attributes here: ", err)
	}
	got := string(buf[:n])
	if strings.Contains(got, "overlay") || strings.Contains(got, "containers") {
		t.Errorf("attributes of the stream were set: %q", got)
	}
	if !strings.Contains(got, "user.mine") {
		t.Skipf("no attributes of users here: %q", got)
	}
}

// A directory that follows its own whiteout is a new one: what layers below have in it stays hidden (OCI image spec, layer.md).
func TestWhiteoutThenDirectory(t *testing.T) {
	t.Parallel()
	entries := []*tar.Header{{Name: ".wh.a", Typeflag: tar.TypeReg}, {Name: "a/", Typeflag: tar.TypeDir}, {Name: "a/new", Typeflag: tar.TypeReg}, {Name: "b/", Typeflag: tar.TypeDir}}
	for _, h := range entries {
		h.Mode, h.Uid, h.Gid = 0o755, os.Getuid(), os.Getgid()
	}
	root, dir := emptyRoot(t)
	if _, err := Untar(context.Background(), stream(t, entries...), root, Options{Whiteouts: Overlay, UserXattr: true}); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
			t.Skip("no whiteouts or attributes of users here: ", err)
		}
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "y", "b": ""} {
		buf := make([]byte, 16)
		n, _ := unix.Lgetxattr(filepath.Join(dir, name), "user.overlay.opaque", buf)
		if got := string(buf[:max(n, 0)]); got != want {
			t.Errorf("%s is marked %q, want %q", name, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "new")); err != nil {
		t.Error(err)
	}
}

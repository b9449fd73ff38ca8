package tree

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestLayoutAndRead(t *testing.T) {
	t.Parallel()
	base := Tree{
		Regular("etc/motd", "hello\n"), Symlink("etc/link", "motd"), Regular("srv/a", "1"), Regular("srv/b", "2"),
		{Name: "dev/null", Type: tar.TypeChar, Mode: 0o666, Major: 1, Minor: 3},
		{Name: "home/joe/x", Mode: 0o4711, UID: 1234, GID: 1235, Data: []byte("x"), Xattrs: map[string]string{"user.a": "b"}},
	}
	upper := Tree{Regular("etc/.wh.motd", ""), Regular("srv/.wh..wh..opq", ""), Regular("srv/c", "3"), Regular("dev", "now a file")}
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	for _, dir := range dirs {
		if err := Layout(dir, Config{"Env": []string{"A=b"}}, base, upper); err != nil {
			t.Fatal(err)
		}
	}
	img, err := Read(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Read(dirs[1]); err != nil || again.ManifestDigest != img.ManifestDigest {
		t.Errorf("the same tree was packed as %s and %s (%v)", img.ManifestDigest, again.ManifestDigest, err)
	}
	want := strings.TrimPrefix(`
-0644 0:0 10 /dev
d0755 0:0 0 /etc
l0777 0:0 0 /etc/link -> motd
d0755 0:0 0 /home
d0755 0:0 0 /home/joe
-4711 1234:1235 1 /home/joe/x
d0755 0:0 0 /srv
-0644 0:0 1 /srv/c
`, "\n")
	if got := Merge(img.Layers...).String(); got != want {
		t.Errorf("merged:\n%swant:\n%s", got, want)
	}
	x := img.Layers[0][slices.IndexFunc(img.Layers[0], func(f File) bool { return f.Name == "home/joe/x" })]
	if x.Xattrs["user.a"] != "b" {
		t.Errorf("extended attributes of x: %v", x.Xattrs)
	}
}

func TestReadChecks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "layout")
	if err := Layout(dir, nil, Tree{Regular("a", "content")}); err != nil {
		t.Fatal(err)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("blobs: %v %v", blobs, err)
	}
	for _, name := range blobs {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		damaged := bytes.Clone(body)
		damaged[len(damaged)-1] ^= 1
		if err := os.WriteFile(name, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil {
			t.Errorf("a damaged %s was read", filepath.Base(name))
		}
		if err := os.WriteFile(name, body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir); err != nil {
		t.Errorf("the repaired layout: %v", err)
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	base, err := Machine(Tools()...)
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, f := range base {
		size += len(f.Data)
	}
	if !slices.ContainsFunc(base, func(f File) bool { return f.Name == "bin/sh" && len(f.Data) > 1000 && f.Mode&0o111 != 0 }) {
		t.Error("no executable bin/sh")
	}
	if size > 64<<20 {
		t.Errorf("the base is %d bytes large", size)
	}
	if _, err := Machine("no-such-program"); err == nil {
		t.Error("a base without its first program was made")
	}
}

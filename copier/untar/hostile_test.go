package untar

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Entries that no program means: each is refused with one short line, or harmless, and the directory stays usable.
func TestHostileEntries(t *testing.T) {
	t.Parallel()
	reg := func(name string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid()}
	}
	owned := func(uid, gid int) *tar.Header {
		h := reg("f")
		h.Uid, h.Gid, h.Format = uid, gid, tar.FormatPAX
		return h
	}
	link := func(name string, kind byte, target string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid()}
	}
	for _, c := range []struct {
		name    string
		entries []*tar.Header
		fails   string
		want    string // exists afterwards
		most    int
	}{
		{"an owner that is cut off to root", []*tar.Header{owned(1<<32, 0)}, "owner 4294967296:0 is out of range", "", 0},
		{"a group that is cut off to root", []*tar.Header{owned(os.Getuid(), 1<<40)}, "is out of range", "", 0},
		{"an owner that means no change", []*tar.Header{owned(1<<32-1, 0)}, "owner 4294967295:0 is out of range", "", 0},
		{"a whiteout on the way", []*tar.Header{reg(".wh.d/f")}, "cannot be told from a whiteout", "", 0},
		{"a hard link to itself", []*tar.Header{reg("f"), link("f", tar.TypeLink, "./f")}, "", "f", 0},
		{"a hard link to itself by another way", []*tar.Header{reg("d/f"), link("l", tar.TypeSymlink, "d"), link("d/f", tar.TypeLink, "l/f")}, "", "d/f", 0},
		{"a hard link to a link to the outside", []*tar.Header{link("l", tar.TypeSymlink, "/etc/passwd"), link("h", tar.TypeLink, "l"), reg("h")}, "", "h", 0},
		{"a hard link to the outside", []*tar.Header{link("h", tar.TypeLink, "../../../../etc/passwd")}, "no such file", "", 0},
		{"a hard link to nothing, over a file", []*tar.Header{reg("f"), link("f", tar.TypeLink, "gone")}, "no such file", "f", 0},
		{"directories without end", []*tar.Header{reg(strings.Repeat("a/", rootfs.MaxPath/2) + "f")}, "file name too long", "", 0},
		{"many directories", []*tar.Header{reg(strings.Repeat("a/", 1000) + "f")}, "", "a/a/a", 0},
		{"a file that is a directory", []*tar.Header{reg("f"), reg("f/g")}, "not a directory", "f", 0},
		{"the root as a link", []*tar.Header{link("./", tar.TypeSymlink, "/etc")}, "the root can only be a directory", "", 0},
		{"links in a circle", []*tar.Header{link("a", tar.TypeSymlink, "b"), link("b", tar.TypeSymlink, "a"), reg("a/f")}, "too many levels", "", 0},
		{"a path that the driver does not reach", []*tar.Header{reg("d/f"), reg("d/" + strings.Repeat("x", 50))}, "the path has 53 bytes, and this storage reaches 52: file name too long", "d/f", 52},
		{"a path that it just reaches", []*tar.Header{reg("d/" + strings.Repeat("x", 50))}, "", "d/" + strings.Repeat("x", 50), 53},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			root, dir := emptyRoot(t)
			_, err := Untar(context.Background(), stream(t, c.entries...), root, Options{MaxName: c.most})
			switch {
			case c.fails == "" && err != nil:
				t.Error(err)
			case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails) || len(err.Error()) > 2000):
				t.Errorf("got %v, want %s", err, c.fails)
			}
			if c.want != "" {
				if _, err := os.Lstat(filepath.Join(dir, c.want)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

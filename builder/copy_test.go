package builder

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// --chown: numbers that the kernel would cut off, to root's for one, are none (dockerfile.md §6.5).
func TestLookupOwner(t *testing.T) {
	t.Parallel()
	root := accounts(t, "joe:x:7:8::/:\nroot:x:0:0::/:\n12:x:99:98::/:\nbig:x:4294967296:1::/:\n", "staff:x:50:joe\nhuge:x:4294967295:\n")
	for chown, want := range map[string][2]int{
		"5": {5, 5}, "0": {0, 0}, "5:": {5, 0}, ":5": {0, 5}, "joe": {7, 8}, "joe:staff": {7, 50}, "joe:": {7, 0}, "root": {0, 0}, "5:staff": {5, 50}, "joe:9": {7, 9}, ":": {0, 0},
		"4294967294": {4294967294, 4294967294}, "12": {12, 12},
	} {
		uid, gid, err := lookupOwner(root, chown)
		if err != nil || uid != want[0] || gid != want[1] {
			t.Errorf("%q: %d:%d, %v", chown, uid, gid, err)
		}
	}
	for _, chown := range []string{"-1", "+1", "4294967295", "4294967296", "1:4294967295", "1:-1", "nobody", "1:none", "0x1", " 1", "1 ", "1:2:3", "big", "joe:huge", "joe\n", "٣"} {
		if uid, gid, err := lookupOwner(root, chown); err == nil {
			t.Errorf("%q is %d:%d", chown, uid, gid)
		}
		if NumericOwner(chown) {
			t.Errorf("%q passes for numbers", chown)
		}
	}
}

// FuzzLookupOwner: whatever --chown and the files say, an owner is an id that the kernel takes as it is; and what passes for
// numbers needs no files.
func FuzzLookupOwner(f *testing.F) {
	f.Add("joe:staff", "joe:x:7:8::/:\n", "staff:x:50:joe\n")
	f.Add("4294967295", ":::::::\n", "::::")
	f.Add(":", "", "\x00")
	f.Fuzz(func(t *testing.T, chown, passwd, group string) {
		uid, gid, err := lookupOwner(accounts(t, passwd, group), chown)
		if err == nil && (uid < 0 || gid < 0 || uid >= math.MaxUint32 || gid >= math.MaxUint32) {
			t.Fatalf("%q is %d:%d", chown, uid, gid)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: more than one line: %v", chown, err)
		}
		if u, g, berr := lookupOwner(accounts(t, "", ""), chown); NumericOwner(chown) && err == nil && (berr != nil || u != uid) {
			t.Fatalf("%q passes for numbers: %d:%d, without files %d:%d %v", chown, uid, gid, u, g, berr)
		}
	})
}

func accounts(t *testing.T, passwd, group string) *rootfs.Root {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": passwd, "group": group} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := rootfs.Open(dir, rootfs.Ignore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

package copier_test

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// What differs between two listings is the path that was changed, and how.
func TestDifference(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(at string) error
		want   string
	}{
		"nothing": {func(string) error { return nil }, ""},
		"time":    {func(at string) error { return os.WriteFile(at+"/top/f", []byte("f"), 0o600) }, ""},
		"bytes":   {func(at string) error { return os.WriteFile(at+"/top/f", []byte("g"), 0o600) }, `"top/f" has other bytes`},
		"mode":    {func(at string) error { return os.Chmod(at+"/top/f", 0o751) }, `"top/f" had mode 644, has 751`},
		"new":     {func(at string) error { return os.WriteFile(at+"/top/sub/n", nil, 0o600) }, `"top/sub/n" is new`},
		"gone":    {func(at string) error { return os.Remove(at + "/top/f") }, `"top/f" is gone`},
		"many":    {func(at string) error { return os.RemoveAll(at + "/top/sub") }, `"top/sub" is gone, and 2 more`},
		"kind":    {func(at string) error { return cmp.Or(os.Remove(at+"/top/f"), os.Mkdir(at+"/top/f", 0o755)) }, `"top/f" was a file, is a directory`},
		"link":    {func(at string) error { return cmp.Or(os.Remove(at+"/top/l"), os.Symlink("sub", at+"/top/l")) }, `"top/l" links elsewhere`},
		"second":  {func(at string) error { return os.WriteFile(at+"/other", []byte("g"), 0o600) }, `"other" has other bytes`},
		"hard": {func(at string) error {
			return cmp.Or(os.Remove(at+"/top/sub/b"), os.Link(at+"/top/sub/a", at+"/top/sub/b"))
		}, `"top/sub/b" is, or was, another name of a file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := t.TempDir()
			err := cmp.Or(os.MkdirAll(at+"/top/sub", 0o755), os.Symlink("f", at+"/top/l"))
			for _, f := range []string{"top/f", "top/sub/a", "top/sub/b", "other"} {
				err = cmp.Or(err, os.WriteFile(filepath.Join(at, f), []byte("f"), 0o644), os.Chmod(filepath.Join(at, f), 0o644)) //nolint:gosec // as contexts have
			}
			was := listing(t, at)
			if err := cmp.Or(err, c.change(at)); err != nil {
				t.Fatal(err)
			}
			if got := copier.Difference(was, listing(t, at)); got != c.want {
				t.Errorf("%q instead of %q", got, c.want)
			}
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	root, err := rootfs.Open(dir, rootfs.Ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	c, err := copier.Digest(t.Context(), root, []string{"top", "other"}, copier.Options{List: true})
	if err != nil {
		t.Fatal(err)
	}
	return c.List
}

// Damage is no danger: a listing is for people.
func FuzzDifference(f *testing.F) {
	f.Add("", "")
	f.Add(strings.Repeat("\x01", 12)+"a\x00", strings.Repeat("\x02", 12)+"/\x00x")
	f.Fuzz(func(t *testing.T, a, b string) {
		if copier.Difference(a, a) != "" {
			t.Error("it differs from itself")
		}
		copier.Difference(a, b)
	})
}

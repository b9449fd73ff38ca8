package rootfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// both runs a test with openat2 and with the walk that replaces it.
func both(t *testing.T, f func(t *testing.T, dir string, open func() *Root)) {
	t.Helper()
	for name, walk := range map[string]bool{"openat2": false, "walk": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f(t, dir, func() *Root {
				r, err := Open(filepath.Join(dir, "root"), Apply)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Close() })
				r.walk = r.walk || walk
				return r
			})
		})
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever links say, what is read is inside the root.
func TestLinksStayInside(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, dir string, open func() *Root) {
		write(t, filepath.Join(dir, "secret"), "outside")
		write(t, filepath.Join(dir, "root/secret"), "inside")
		write(t, filepath.Join(dir, "root/d/file"), "file")
		links := map[string]string{
			"absolute": "/secret", "up": "../../../secret", "d/up": "../secret", "chain": "absolute",
			"host": filepath.Join(dir, "secret"), "loop": "loop", "magic": "/proc/self/root" + dir + "/secret", "dir": "/d",
		}
		for name, target := range links {
			if err := os.Symlink(target, filepath.Join(dir, "root", name)); err != nil {
				t.Fatal(err)
			}
		}
		r := open()
		for name, want := range map[string]string{
			"absolute": "inside", "up": "inside", "d/up": "inside", "chain": "inside", "dir/file": "file", "../secret": "inside",
			"/dir/../secret": "inside", "dir/../../secret": "inside", "host": "", "loop": "", "magic": "",
		} {
			got, err := r.ReadFile(name, 100)
			if want == "" && err == nil || want != "" && string(got) != want {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
			}
		}
	})
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, dir string, open func() *Root) {
		write(t, filepath.Join(dir, "root/large"), "12345")
		if err := unix.Mkfifo(filepath.Join(dir, "root/fifo"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := open()
		for _, name := range []string{"fifo", "/", "large"} {
			if _, err := r.ReadFile(name, 4); err == nil {
				t.Errorf("%s was read", name)
			}
		}
	})
}

// Directories are made inside the root, also where dangling links lead.
func TestMkdirAll(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, dir string, open func() *Root) {
		write(t, filepath.Join(dir, "root/file"), "")
		for name, target := range map[string]string{"dangling": "/a/b", "out": dir + "/made", "up": "../made"} {
			if err := os.Symlink(target, filepath.Join(dir, "root", name)); err != nil {
				t.Fatal(err)
			}
		}
		r := open()
		for name, want := range map[string]string{"dangling/c": "a/b/c", "out": dir[1:] + "/made", "up/x": "made/x", "n/e/w": "n/e/w"} {
			d, err := r.MkdirAll(name, 0o750, -1, -1)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			d.Close()
			if _, err := os.Stat(filepath.Join(dir, "root", want)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "made")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("something was made outside: %v", err)
		}
		if _, err := r.MkdirAll("file/x", 0o755, -1, -1); err == nil {
			t.Error("a directory was made in a file")
		}
	})
}

// Entries of a directory are named, not reached by paths, and links are not followed.
func TestEntries(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, dir string, open func() *Root) {
		write(t, filepath.Join(dir, "canary"), "alive")
		write(t, filepath.Join(dir, "root/x"), "")
		if err := os.Symlink(filepath.Join(dir, "canary"), filepath.Join(dir, "root/link")); err != nil {
			t.Fatal(err)
		}
		d, err := open().Dir("/")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for _, name := range []string{"", "..", "../canary", "/etc"} {
			if err := d.Unlink(name); err == nil {
				t.Errorf("removed %q", name)
			}
		}
		if _, err := d.OpenFile("link"); err == nil {
			t.Error("a link was followed")
		}
		if _, err := d.Create("link", 0o600); err == nil {
			t.Error("a file was created through a link")
		}
		if err := d.Chmod("link", 0o777); err != nil {
			t.Error(err)
		}
		if st, err := os.Stat(filepath.Join(dir, "canary")); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("canary has mode %v, %v", st.Mode(), err)
		}
		if err := d.RemoveAll("link"); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "canary")); err != nil {
			t.Error(err)
		}
	})
}

func TestOverride(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Override{
		"1:2:0644":               {UID: 1, GID: 2, Mode: 0o644},
		"0:5:0666:char-1-3":      {GID: 5, Mode: 0o666, Device: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)},
		"10:20:4600:block-8-17":  {UID: 10, GID: 20, Mode: 0o4600, Device: unix.S_IFBLK, Rdev: unix.Mkdev(8, 17)},
		"7:8:0755:something-new": {UID: 7, GID: 8, Mode: 0o755},
	} {
		got, err := parseOverride(text)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
		if again, err := parseOverride(got.format()); err != nil || again != got {
			t.Errorf("%s: %s is read as %+v, %v", text, got.format(), again, err)
		}
	}
	for _, text := range []string{"", "a:b:c", "1:2", "1:2:3:char-x-y", "-1:2:0644", "1:2:99"} {
		if got, err := parseOverride(text); err == nil {
			t.Errorf("%q was taken for %+v", text, got)
		}
	}
	o := Override{UID: 1234, GID: 4294967294, Mode: 0o777}
	if got, ok := parseCapability(o.capability()); !ok || got != o {
		t.Errorf("got %+v", got)
	}
	real := []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_raw+ep
	if got, ok := parseCapability(real); ok {
		t.Errorf("file capabilities were taken for %+v", got)
	}
}

// TestRecorded: what cannot carry attributes of users keeps its record through a rename.
func TestRecorded(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, of the host or of a user namespace")
	}
	root, err := Open(t.TempDir(), Record)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	d, err := root.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errors.Join(d.Symlink("nowhere", "link"), d.Mknod("fifo", unix.S_IFIFO|0o600, 0)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "fifo"} {
		if err := errors.Join(d.save(name, Override{UID: 5, GID: 6}), d.Rename(d, name, name+"2")); err != nil {
			t.Fatal(err)
		}
		i, err := d.Lstat(name + "2")
		if err != nil || i.UID != 5 || i.GID != 6 {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
		if attrs, err := d.Xattrs(name + "2"); err != nil || len(attrs) != 0 {
			t.Errorf("%s shows %v, %v", name, attrs, err)
		}
	}
}

func FuzzOverride(f *testing.F) {
	f.Add("0:5:0666:char-1-3")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOverride(text)
		if err != nil {
			return
		}
		if again, err := parseOverride(o.format()); err != nil || again != o {
			t.Fatalf("%q is %+v, then %+v, %v", text, o, again, err)
		}
	})
}

// FuzzResolve: no name leads out of the root, with either way to look it up, and both agree.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"a", "l/../b", "/l/l/x", "../../..", "d/l2/../a", "l3"} {
		f.Add(s, "/a", "../b")
	}
	f.Fuzz(func(t *testing.T, name, target1, target2 string) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "canary"), "outside")
		write(t, filepath.Join(dir, "root/d/a"), "inside")
		write(t, filepath.Join(dir, "root/canary"), "inside")
		_ = os.Symlink(target1, filepath.Join(dir, "root/l")) // not every target is possible
		_ = os.Symlink(target2, filepath.Join(dir, "root/d/l2"))
		var results []string
		for _, walk := range []bool{false, true} {
			r, err := Open(filepath.Join(dir, "root"), Apply)
			if err != nil {
				t.Fatal(err)
			}
			r.walk = r.walk || walk
			b, err := r.ReadFile(name, 100)
			r.Close()
			if string(b) == "outside" {
				t.Fatalf("%q led outside", name)
			}
			results = append(results, string(b)+map[bool]string{true: "ok", false: "failed"}[err == nil])
		}
		if results[0] != results[1] {
			t.Fatalf("%q with links to %q and %q: openat2 gives %q, the walk %q", name, target1, target2, results[0], results[1])
		}
	})
}

// A tree is removed whole, wide or deep, whatever names are in it; what is above and beside it stays, and links are not followed.
func TestRemoveTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "kept/f"), "x")
	top := filepath.Join(dir, "gone")
	deep := top + strings.Repeat("/removed-1", 2*openLevels+3) // as what is moved up is called
	write(t, filepath.Join(deep, "f"), "x")
	for d := deep; d != top; d = filepath.Dir(d) {
		write(t, filepath.Join(d, "removed-2/f"), "x")
		if err := os.Symlink(filepath.Join(dir, "kept"), filepath.Join(d, "removed-3")); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveTree(top); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Error("left: ", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kept/f")); err != nil {
		t.Error(err)
	}
	for _, none := range []string{top, filepath.Join(top, "below")} {
		if err := RemoveTree(none); err != nil {
			t.Error(err)
		}
	}
}

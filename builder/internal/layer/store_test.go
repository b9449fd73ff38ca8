package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/reexec"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if reexec.Init() { // storage unpacks in children of this program
		return
	}
	if len(os.Args) == 5 && os.Args[1] == "kill-child" {
		if err := killChild(os.Args[2], os.Args[3], os.Args[4]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// openStore opens an empty store of its own.
func openStore(t testing.TB, driver string, options ...string) storage.Store {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: storage mounts and makes devices")
	}
	dir := t.TempDir()
	st, err := storage.GetStore(storage.StoreOptions{
		GraphRoot: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), GraphDriverName: driver, GraphDriverOptions: options,
	})
	if err != nil {
		if driver == "overlay" {
			t.Skipf("no overlay here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = st.Shutdown(true) })
	return st
}

// work makes a writable layer over parent, lets change work in its mounted root, and returns its ID and what the root
// looked like at the end.
func work(t testing.TB, st storage.Store, parent string, change func(t testing.TB, root string)) (string, map[string]string) {
	t.Helper()
	l, err := st.CreateLayer("", parent, nil, "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.ID, in(t, st, l.ID, change)
}

func in(t testing.TB, st storage.Store, id string, change func(t testing.TB, root string)) map[string]string {
	t.Helper()
	root, err := st.Mount(id, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := st.Unmount(id, false); err != nil {
			t.Error(err)
		}
	}()
	if change != nil {
		change(t, root)
	}
	return snapshot(t, root)
}

// snapshot describes every file: what a layer must keep, times in whole seconds
// from 1970 on.
func snapshot(t testing.TB, root string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
			return nil
		}
		text := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		if rel != "." {
			text += fmt.Sprintf(" @%d", max(0, st.Mtim.Sec))
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %s", len(b), digest.FromBytes(b).Encoded()[:8])
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				}
				text += " =" + first[st.Ino]
			}
		case unix.S_IFLNK:
			to, _ := os.Readlink(p)
			text += " ->" + to
		case unix.S_IFCHR, unix.S_IFBLK:
			text += fmt.Sprintf(" %x", st.Rdev)
		}
		tree[rel] = text + attrText(t, p, st.Mode)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func attrText(t testing.TB, p string, mode uint32) string {
	if k := mode & unix.S_IFMT; k != unix.S_IFREG && k != unix.S_IFDIR {
		return ""
	}
	b := make([]byte, 4096)
	n, err := unix.Llistxattr(p, b)
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, name := range strings.Split(string(b[:n]), "\x00") {
		if name == "security.capability" || strings.HasPrefix(name, "user.") {
			v := make([]byte, 4096)
			n, err := unix.Lgetxattr(p, name, v)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, fmt.Sprintf(" %s=%x", name, v[:n]))
		}
	}
	slices.Sort(text)
	return strings.Join(text, "")
}

func sameTrees(t testing.TB, got, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%q is missing: want %s", p, w)
		} else if g != w {
			t.Errorf("%q:\n got %s\nwant %s", p, g, w)
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q is there: %s", p, g)
		}
	}
}

func mustCommit(t testing.TB, st storage.Store, rw, parent string, o Options) Result {
	t.Helper()
	if o.TempDir == "" {
		o.TempDir = t.TempDir()
	}
	res, err := Commit(context.Background(), st, rw, parent, o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// readDiff returns the tar that storage gives for a layer.
func readDiff(t testing.TB, st storage.Store, id string) []byte {
	t.Helper()
	plain := archive.Uncompressed
	r, err := st.Diff("", id, &storage.DiffOptions{Compression: &plain})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// verify checks that a layer is stored as res says, and that storage finds nothing wrong anywhere.
func verify(t testing.TB, st storage.Store, parent string, res Result) []byte {
	t.Helper()
	b := readDiff(t, st, res.ID)
	if got := digest.FromBytes(b); got != res.DiffID {
		t.Errorf("storage gives back %s, want %s", got, res.DiffID)
	}
	if int64(len(b)) != res.Size {
		t.Errorf("size is %d, want %d", res.Size, len(b))
	}
	if res.ID != ID(parent, res.DiffID) {
		t.Errorf("ID %s does not follow from parent and digest", res.ID)
	}
	l, err := st.Layer(res.ID)
	if err != nil {
		t.Fatal(err)
	}
	if l.UncompressedDigest != res.DiffID || l.UncompressedSize != res.Size || l.Parent != parent || l.ReadOnly {
		t.Errorf("record is %+v", l)
	}
	checkStore(t, st)
	noStaging(t, st)
	return b
}

func checkStore(t testing.TB, st storage.Store) {
	t.Helper()
	report, err := st.Check(storage.CheckEverything())
	if err != nil {
		t.Fatal(err)
	}
	for id, errs := range report.Layers {
		if strings.HasPrefix(id, "opaque-bug-check") {
			continue // storage's own: it was killed while it probed the kernel, before any code of ours
		}
		t.Errorf("storage finds layer %s damaged: %v", id, errs)
	}
}

// noStaging checks that nothing was left on the way.
func noStaging(t testing.TB, st storage.Store) {
	t.Helper()
	left, _ := filepath.Glob(filepath.Join(st.GraphRoot(), st.GraphDriverName(), "staging", "*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// entries lists a tar as archive/tar reads it.
func entries(t testing.TB, b []byte) []*tar.Header {
	t.Helper()
	var list []*tar.Header
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h)
	}
}

func names(t testing.TB, b []byte) []string {
	t.Helper()
	var list []string
	for _, h := range entries(t, b) {
		list = append(list, h.Name)
	}
	return list
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o644))
}

// at sets a time with a fraction, that layers drop.
func at(t testing.TB, name string, sec int64) {
	t.Helper()
	ts := []unix.Timespec{{Sec: sec, Nsec: 987654321}, {Sec: sec, Nsec: 987654321}}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, name, ts, unix.AT_SYMLINK_NOFOLLOW))
}

// settle gives every file below a time of its own that does not depend on now; those of baseTree that
// are to stay as they are excepted if there is a layer below.
func settle(t testing.TB, root string, layered bool) {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	}))
	slices.Reverse(all)
	for _, p := range all {
		if base := filepath.Base(p); layered && (base == "same" || base == "run") {
			continue // not to be changed
		}
		at(t, p, 1_600_000_000+int64(len(p)-len(root)))
	}
}

var testEpoch = time.Unix(1_500_000_000, 0)

// tarOf returns the writer of a finished layer with all that is in dir; the tar itself is only digested.
func tarOf(t testing.TB, dir string, o Options) *writer {
	t.Helper()
	src, err := openDir(dir)
	must(t, err)
	defer src.Close()
	meta, err := unlinked(t.TempDir())
	must(t, err)
	defer meta.Close()
	r := newReader(o.Ownership, false, nil)
	w := newWriter(nil, meta)
	walk := &walker{
		ctx: context.Background(), mode: whole, r: r, below: &base{r: r}, w: w, disk: untouchedDisk{}, o: o,
		stubs: newStubs(o.Excludes), links: map[inode]string{},
	}
	must(t, walk.run(src))
	_, err = w.close()
	must(t, err)
	return w
}

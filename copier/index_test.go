package copier

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// An index gives the digest of what did not change, and of nothing else: not of a file that was written and given its
// old size and time again, and not of one that was written just now.
func TestIndex(t *testing.T) {
	t.Parallel()
	from, dir := tree(t, map[string]string{"a": "one", "d/b": "two"})
	file := filepath.Join(t.TempDir(), "sub", "index")
	sum := func(x *Index) string {
		t.Helper()
		c, err := Digest(context.Background(), from, []string{"."}, Options{Index: x})
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest.String()
	}
	plain := sum(nil)
	young := OpenIndex(file)
	if got := sum(young); got != plain || len(young.entries) != 0 {
		t.Fatalf("files of this moment are kept: %d, %s", len(young.entries), got)
	}
	time.Sleep(settled + 100*time.Millisecond)
	x := OpenIndex(file)
	if got := sum(x); got != plain || len(x.entries) != 2 {
		t.Fatalf("%d entries, %s for %s", len(x.entries), got, plain)
	}
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	known := OpenIndex(file)
	for id, e := range known.entries { // to see that it is asked
		e.sum[0] ^= 0xff
		known.entries[id] = e
	}
	if got := sum(known); got == plain {
		t.Error("the index was not asked")
	}
	a := filepath.Join(dir, "a")
	st, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a, []byte("eno"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(a, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := sum(OpenIndex(file)); got == plain || got != sum(nil) {
		t.Errorf("a file with its old size and time was taken for the same")
	}
}

// An archive that did not change is not read again either, and has the digest that it has without an index.
func TestIndexArchive(t *testing.T) {
	t.Parallel()
	var tarred bytes.Buffer
	w := tar.NewWriter(&tarred)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "f", Mode: 0o644}), w.Close()); err != nil {
		t.Fatal(err)
	}
	from, _ := tree(t, map[string]string{"a.tar": tarred.String()})
	sum := func(x *Index) string {
		t.Helper()
		c, err := Digest(context.Background(), from, []string{"a.tar"}, Options{Index: x, Unpack: true})
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest.String()
	}
	plain := sum(nil)
	time.Sleep(settled + 100*time.Millisecond)
	x := OpenIndex(filepath.Join(t.TempDir(), "index"))
	if got := sum(x); got != plain || len(x.entries) != 1 {
		t.Fatalf("%d entries, %s for %s", len(x.entries), got, plain)
	}
	for id, e := range x.entries {
		e.sum[0] ^= 0xff
		x.entries[id] = e
	}
	if got := sum(x); got == plain {
		t.Error("the index was not asked")
	}
}

// A damaged index is an empty one.
func TestIndexDamaged(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "index")
	x := OpenIndex(file)
	old := rootfs.Info{Dev: 1, Ino: 2, Size: 3, Mtime: time.Unix(4, 5), Ctime: time.Unix(6, 7)}
	x.store(old, old, bytes.Repeat([]byte{9}, 32), time.Now())
	if err := x.Save(); err != nil {
		t.Fatal(err)
	}
	if got, ok := OpenIndex(file).lookup(old); !ok || got[0] != 9 {
		t.Fatal("what was saved is not found")
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		broken := bytes.Clone(whole)
		broken[n] ^= 1
		for _, b := range [][]byte{broken, whole[:n]} {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if len(OpenIndex(file).entries) != 0 {
				t.Fatalf("damage at %d was not seen", n)
			}
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(indexMagic))
	f.Fuzz(func(_ *testing.T, b []byte) {
		x := &Index{entries: map[inode]indexed{}, touched: map[inode]bool{}}
		x.parse(b)
	})
}

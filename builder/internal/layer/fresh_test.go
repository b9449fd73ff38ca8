package layer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// freshBase is a parent whose root directory has not the mode that storage gives to one.
func freshBase(t testing.TB, st storage.Store) Result {
	t.Helper()
	rw, _ := work(t, st, "", func(t testing.TB, root string) {
		baseTree(t, root)
		must(t, os.Chmod(root, 0o711)) // storage gives it to root whenever it mounts
	})
	return mustCommit(t, st, rw, "", Options{Move: true})
}

func newFresh(t testing.TB, st storage.Store, parent string, stage func(Staging) error) *Fresh {
	t.Helper()
	f, err := NewFresh(st, parent, rootfs.Apply, stage)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, f.Discard()) })
	return f
}

func change(t testing.TB, f *Fresh, change func(t testing.TB, root string)) map[string]string {
	t.Helper()
	root, err := f.Mount("")
	if err != nil {
		t.Fatal(err)
	}
	change(t, root)
	tree := snapshot(t, root)
	must(t, f.Unmount())
	return tree
}

// TestFresh: the same changes make the same layer as in a writable layer of storage's.
func TestFresh(t *testing.T) {
	st := openStore(t, "overlay")
	base := freshBase(t, st)
	rw, tree := work(t, st, base.ID, changeTree)
	want := mustCommit(t, st, rw, base.ID, Options{Move: true})
	must(t, st.DeleteLayer(rw), st.DeleteLayer(want.ID))

	for _, there := range []bool{false, true} {
		var staging []Staging
		f := newFresh(t, st, base.ID, func(s Staging) error { staging = append(staging, s); return nil })
		if len(staging) != 1 || staging[0].Moved || staging[0].Dir != filepath.Dir(f.t.upper) {
			t.Errorf("told of %+v", staging)
		}
		sameTrees(t, change(t, f, changeTree), tree)
		claimed := Claimed{}
		got, err := f.Commit(context.Background(), Options{Names: []string{"name"}, Claim: func(c Claimed) error { claimed = c; return nil }})
		if err != nil || got != want || claimed.There != there {
			t.Fatalf("got %+v, %v, there %v; want %+v", got, err, claimed.There, want)
		}
		must(t, f.Discard(), f.Discard())
		verify(t, st, base.ID, got)
		top, _ := work(t, st, got.ID, func(t testing.TB, root string) { sameTrees(t, snapshot(t, root), tree) })
		must(t, st.DeleteLayer(top))
	}
	if l, err := st.Layer("name"); err != nil || l.ID != want.ID {
		t.Errorf("the name is of %v, %v", l, err)
	}
}

// TestFreshOverNothing: it may be the first layer.
func TestFreshOverNothing(t *testing.T) {
	st := openStore(t, "overlay")
	rw, tree := work(t, st, "", baseTree)
	want := mustCommit(t, st, rw, "", Options{Move: true})
	must(t, st.DeleteLayer(rw), st.DeleteLayer(want.ID))
	f := newFresh(t, st, "", nil)
	sameTrees(t, change(t, f, baseTree), tree)
	got, err := f.Commit(context.Background(), Options{})
	must(t, err, f.Discard())
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	verify(t, st, "", got)
}

// TestFreshMounts: mounts are counted, and what was written stays from one to the next.
func TestFreshMounts(t *testing.T) {
	st := openStore(t, "overlay")
	f := newFresh(t, st, freshBase(t, st).ID, nil)
	for _, name := range []string{"one", "two"} {
		outer, err := f.Mount("")
		must(t, err)
		inner, err := f.Mount("")
		must(t, err, f.Unmount())
		if inner != outer {
			t.Errorf("mounted at %s and %s", outer, inner)
		}
		write(t, filepath.Join(outer, name), name)
		must(t, f.Unmount())
	}
	change(t, f, func(t testing.TB, root string) {
		for _, name := range []string{"one", "two"} {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Error(err)
			}
		}
	})
	dir, err := f.Mount("")
	must(t, err, f.Discard())
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount is still there: %v", err)
	}
	noStaging(t, st)
}

// TestFreshNotPlain: a directory that refers to those below it by more than names is compared instead.
func TestFreshNotPlain(t *testing.T) {
	st := openStore(t, "overlay")
	base := freshBase(t, st)
	f := newFresh(t, st, base.ID, nil)
	change(t, f, func(t testing.TB, root string) {
		must(t, os.Mkdir(filepath.Join(root, "moved"), 0o755))
		write(t, filepath.Join(root, "moved/file"), "text")
	})
	must(t, unix.Setxattr(filepath.Join(f.t.upper, "moved"), "trusted.overlay.redirect", []byte("/elsewhere"), 0))
	got, err := f.Commit(context.Background(), Options{TempDir: t.TempDir()})
	must(t, err, f.Discard())
	b := verify(t, st, base.ID, got)
	if list := names(t, b); len(list) == 0 || list[len(list)-1] != "moved/file" {
		t.Errorf("the layer has %q", list)
	}
}

// TestFreshRefused: where storage mounts otherwise, it has to do it.
func TestFreshRefused(t *testing.T) {
	st := openStore(t, "vfs")
	rw, _ := work(t, st, "", baseTree)
	base := mustCommit(t, st, rw, "", Options{})
	if _, err := NewFresh(st, base.ID, rootfs.Apply, nil); !errors.Is(err, ErrNotFresh) {
		t.Errorf("vfs: %v", err)
	}
	st = openStore(t, "overlay", "overlay.mountopt=nodev")
	if _, err := NewFresh(st, freshBase(t, st).ID, rootfs.Apply, nil); !errors.Is(err, ErrNotFresh) {
		t.Errorf("options: %v", err)
	}
	noStaging(t, st)
}

package layer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/containers/storage"
)

// tricky makes what the changes of trick are made to.
func tricky(t testing.TB, root string) {
	for _, d := range []string{"plain", "x", "y", "replaced/below", "kept"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, f := range []string{"plain/touched", "plain/copied", "plain/other", "plain/untouched", "x/f", "y/f", "replaced/below/f", "kept/f"} {
		write(t, filepath.Join(root, f), "base "+filepath.Base(f))
	}
	write(t, filepath.Join(root, "y/f"), "swap f")
	must(t, os.Link(filepath.Join(root, "kept/f"), filepath.Join(root, "kept/name")))
	dated(t, root)
}

// trick makes changes that neither size nor time of a file tells.
func trick(t testing.TB, root string) {
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.Chmod(p("plain/touched"), 0o644))
	write(t, p("plain/new"), "base copied")
	must(t, os.Rename(p("plain/new"), p("plain/copied")))
	write(t, p("plain/other"), "else other")
	must(t, os.Remove(p("kept/name")))
	must(t, os.RemoveAll(p("replaced")), os.MkdirAll(p("replaced/below"), 0o755))
	dated(t, root)
}

// dated gives all files the same time, in whole seconds as in layers.
func dated(t testing.TB, root string) {
	must(t, filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err == nil && p != root && e.Name() != "untouched" && e.Name() != "f" {
			err = os.Chtimes(p, testEpoch, testEpoch)
		}
		return err
	}))
}

// What was written is in the layer, with every driver the same, though size and time are those of the base.
func TestMoment(t *testing.T) {
	var want Result
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", tricky)
		base := mustCommit(t, st, rw, "", Options{Move: true, Epoch: &testEpoch})
		rw, _ = work(t, st, base.ID, nil)
		since, err := Moment(st)
		must(t, err)
		tree := in(t, st, rw, trick)
		res := mustCommit(t, st, rw, base.ID, Options{Move: move, Since: since})
		got := names(t, verify(t, st, base.ID, res))
		for _, name := range []string{"plain/touched", "plain/copied", "plain/other", "replaced/.wh..wh..opq", "kept/.wh.name", "replaced/below/"} {
			if !slices.Contains(got, name) {
				t.Errorf("%s is not in the layer: %q", name, got)
			}
		}
		for _, name := range []string{"plain/untouched", "kept/f"} {
			if slices.Contains(got, name) {
				t.Errorf("%s is in the layer: %q", name, got)
			}
		}
		if want.DiffID == "" {
			want = res
		}
		if res.DiffID != want.DiffID {
			t.Errorf("%s, want %s", res.DiffID, want.DiffID)
		}
		_, after := work(t, st, res.ID, nil)
		sameTrees(t, after, tree)
	})
}

// Without a moment, and where a directory came from elsewhere, content is compared.
func TestContentTells(t *testing.T) {
	swap := func(t testing.TB, root string) {
		p := func(name string) string { return filepath.Join(root, name) }
		must(t, os.Rename(p("x"), p("z")), os.Rename(p("y"), p("x")), os.Rename(p("z"), p("y")))
		write(t, p("plain/other"), "else other")
		for _, name := range []string{"plain/other", "plain", "x", "y"} {
			must(t, os.Chtimes(p(name), testEpoch, testEpoch))
		}
	}
	for _, known := range []bool{true, false} {
		st := openStore(t, "vfs")
		rw, _ := work(t, st, "", tricky)
		base := mustCommit(t, st, rw, "", Options{Epoch: &testEpoch})
		rw, _ = work(t, st, base.ID, nil)
		var since time.Time
		if known {
			var err error
			since, err = Moment(st)
			must(t, err)
		}
		tree := in(t, st, rw, swap)
		res := mustCommit(t, st, rw, base.ID, Options{Since: since})
		_, after := work(t, st, res.ID, nil)
		sameTrees(t, after, tree)
		if got := names(t, verify(t, st, base.ID, res)); slices.Contains(got, "kept/f") || slices.Contains(got, "plain/copied") {
			t.Errorf("what did not change is in the layer: %q", got)
		}
	}
}

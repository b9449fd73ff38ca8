package builder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/builder/internal/layer"
	"github.com/slipway-build/slipway/builder/reexec"
	"github.com/slipway-build/slipway/internal/flock"
)

// TestMain serves storage's children: it copies layers in them.
func TestMain(m *testing.M) {
	reexec.Init()
	os.Exit(m.Run())
}

// claimStore opens storage whose next opener is a new process to all that counts here: locks and files.
func claimStore(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(StoreOptions{Root: filepath.Join(dir, "root"), RunRoot: filepath.Join(dir, "run"), Driver: "vfs"})
	if err != nil {
		t.Skipf("no storage here: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// make claims a layer and, unless it is there, makes it.
func (c *claim) make(t *testing.T, id, parent string) {
	t.Helper()
	lock, err := layer.Lock(c.s.st, flock.Acquire)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	_, err = c.s.st.Layer(id)
	if cerr := c.add(layer.Claimed{ID: id, There: err == nil}); cerr != nil {
		t.Fatal(cerr)
	}
	if err != nil {
		if _, err := c.s.st.CreateLayer(id, parent, nil, "", false, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// die is what a kill does to a claim.
func (c *claim) die(t *testing.T) {
	t.Helper()
	if err := c.keep(); err != nil {
		t.Fatal(err)
	}
}

// wantLayers checks which layers there are.
func (s *Store) wantLayers(t *testing.T, when string, want ...string) {
	t.Helper()
	all, err := s.st.Layers()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for i := range all {
		have[all[i].ID] = true
	}
	for _, id := range want {
		if !have[id] {
			t.Errorf("%s: layer %s is gone", when, id)
		}
		delete(have, id)
	}
	for id := range have {
		t.Errorf("%s: layer %s is left", when, id)
	}
}

func TestClaims(t *testing.T) {
	s := claimStore(t)
	killed := s.claim(committing)
	killed.make(t, "a", "")
	killed.make(t, "b", "a")
	killed.make(t, "c", "b")
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "while the commit lives", "a", "b", "c")
	if _, err := s.st.CreateImage("image", nil, "a", "", nil); err != nil {
		t.Fatal(err)
	}
	killed.die(t)
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "after the commit was killed", "a")

	one, two := s.claim(pulling), s.claim(committing)
	one.make(t, "shared", "")
	two.make(t, "shared", "")
	two.make(t, "own", "shared")
	if err := one.end(true); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "after one of two was refused", "a", "shared", "own")
	if err := two.end(true); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "after both were refused", "a")

	cut := s.claim(pulling)
	cut.make(t, "arrived", "")
	cut.die(t)
	next := s.claim(pulling)
	next.make(t, "arrived", "")
	if err := s.sweep(); err != nil {
		t.Fatal(err)
	}
	if err := next.end(true); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "before a prune", "a", "arrived")
	if err := s.SweepPulls(); err != nil {
		t.Fatal(err)
	}
	s.wantLayers(t, "after a prune", "a")
	if left, err := filepath.Glob(filepath.Join(s.GraphRoot(), "slipway", "live", "*")); err != nil || len(left) > 0 {
		t.Errorf("claims left: %v, %v", left, err)
	}
}

// The claim of a pull that was killed goes when a later pull has made an image of what it left, and not before.
func TestForgetPulls(t *testing.T) {
	s := claimStore(t)
	killed, other := s.claim(pulling), s.claim(pulling)
	killed.make(t, "a", "")
	killed.make(t, "b", "a")
	killed.die(t)
	other.make(t, "a", "")
	other.make(t, "c", "a")
	claims := func(when string, want int) {
		t.Helper()
		if err := s.forgetPulls(); err != nil {
			t.Fatal(err)
		}
		left, err := filepath.Glob(filepath.Join(s.GraphRoot(), "slipway", "live", pulling+"*"))
		if err != nil || len(left) != want {
			t.Errorf("%s: claims %v, %v; want %d", when, left, err, want)
		}
	}
	claims("nobody has b", 2)
	if _, err := s.st.CreateImage("of c", nil, "c", "", nil); err != nil {
		t.Fatal(err)
	}
	claims("only a is in use", 2)
	if _, err := s.st.CreateImage("of b", nil, "b", "", nil); err != nil {
		t.Fatal(err)
	}
	claims("all are in use; the other pull lives", 1)
	other.die(t)
	claims("both are dead", 0)
	s.wantLayers(t, "in the end", "a", "b", "c")
}

func TestMovedFilesAreNotClaimed(t *testing.T) {
	s := claimStore(t)
	c := s.claim(committing)
	if err := c.add(layer.Claimed{ID: "moved", Moved: true}); err != nil {
		t.Fatal(err)
	}
	if c.lock != nil {
		t.Error("a sweep would remove the only copy of a container's files")
	}
}

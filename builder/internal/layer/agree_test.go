package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var times = regexp.MustCompile(`@\d+(\.\d+)?`)

// What happens to a tree at random gives the same layer with every driver, and the tree itself.
func TestDriversAgree(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		want := map[string]Result{}
		for _, v := range variants {
			st := openStore(t, v.driver)
			random := func(more int) func(testing.TB, string) {
				return func(t testing.TB, root string) {
					chance := rand.New(rand.NewPCG(uint64(seed), uint64(more)))
					for range 60 {
						happen(t, chance, root)
					}
				}
			}
			rw, _ := work(t, st, "", random(0))
			base := mustCommit(t, st, rw, "", Options{Move: true, Epoch: &testEpoch, AllowEmpty: true})
			rw, _ = work(t, st, base.ID, nil)
			since, err := Moment(st)
			must(t, err)
			tree := in(t, st, rw, random(1))
			res := mustCommit(t, st, rw, base.ID, Options{Move: v.move, Since: since, Epoch: &testEpoch, AllowEmpty: true})
			_, after := work(t, st, res.ID, nil)
			sameTrees(t, timeless(after), timeless(tree))
			for what, r := range map[string]Result{"base": base, "changes": res} {
				if w, ok := want[what]; ok && w.DiffID != r.DiffID {
					t.Errorf("seed %d, %s %v: the %s differ, here they are %q", seed, v.driver, v.move, what, names(t, readDiff(t, st, r.ID)))
				}
				want[what] = r
			}
		}
	}
}

// timeless takes the times out of a tree.
func timeless(tree map[string]string) map[string]string {
	out := map[string]string{}
	for name, text := range tree {
		out[name] = times.ReplaceAllString(text, "")
	}
	return out
}

// happen does one thing to a small set of names, so that much happens to the same ones. Times are set, as tools do. Neither directories of the base
// are moved, nor are files given further names: on overlay these are other files afterwards.
func happen(t testing.TB, chance *rand.Rand, root string) {
	name := func() string {
		p := root
		for range 1 + chance.IntN(3) {
			p = filepath.Join(p, fmt.Sprintf("n%d", chance.IntN(4)))
		}
		return p
	}
	at := name()
	ignore := func(err error) { // what is in the way stays there
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			var path *fs.PathError
			var link *os.LinkError
			if !errors.As(err, &path) && !errors.As(err, &link) {
				t.Fatal(err)
			}
		}
	}
	switch chance.IntN(8) {
	case 0, 1:
		ignore(os.MkdirAll(at, 0o755))
	case 2, 3:
		ignore(os.WriteFile(at, []byte{byte('a' + chance.IntN(3))}, 0o644))
	case 4:
		ignore(os.RemoveAll(at))
	case 5:
		ignore(os.Chmod(at, 0o700+fs.FileMode(chance.IntN(2))*0o055))
	case 6:
		ignore(os.Symlink("n0", at))
	case 7:
		ignore(os.RemoveAll(at))
		ignore(os.MkdirAll(at, 0o755))
	}
	if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		ignore(os.Chtimes(at, testEpoch, testEpoch))
	}
}

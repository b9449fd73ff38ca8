package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// baseTree makes what the changes of changeTree are made to.
func baseTree(t testing.TB, root string) {
	for _, d := range []string{"etc", "usr/bin", "usr/lib/old/deep", "var/empty", "gone/below", "run"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	for _, f := range []string{"etc/passwd", "etc/hosts", "usr/bin/tool", "usr/lib/old/a", "usr/lib/old/deep/b", "gone/below/x", "etc/same"} {
		write(t, filepath.Join(root, f), "base "+f)
	}
	settle(t, root, false)
}

// changeTree makes all kinds of changes but one: replacing a directory, that drivers see differently.
func changeTree(t testing.TB, root string) {
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.RemoveAll(p("gone")), os.Remove(p("usr/lib/old/a")), os.Remove(p("etc/passwd")))
	must(t, os.Mkdir(p("etc/passwd"), 0o700)) // was a file
	must(t, os.RemoveAll(p("usr/bin/tool")), os.Symlink("../lib", p("usr/bin/tool")))
	write(t, p("etc/hosts"), "changed")
	write(t, p("etc/.hidden"), "")
	must(t, os.Chmod(p("var/empty"), 0o1777))
	must(t, os.Mkdir(p("new"), 0o755))
	specials(t, p("new"))
	oddNames(t, p("new"))
	settle(t, root, true)
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p("new/before"), []unix.Timespec{{Sec: -5}, {Sec: -5}}, 0))
}

func specials(t testing.TB, dir string) {
	p := func(name string) string { return filepath.Join(dir, name) }
	write(t, p("b-first"), "linked")
	must(t, os.Mkdir(p("a"), 0o755), os.Link(p("b-first"), p("a/second")), os.Link(p("b-first"), p("c")))
	must(t, unix.Mkfifo(p("fifo"), 0o640), unix.Mknod(p("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(p("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(250, 70000))))
	must(t, os.Symlink("/etc/\xffodd", p("dangling")), os.Symlink(strings.Repeat("long/", 60), p("longlink")))
	write(t, p("owned"), "x")
	must(t, os.Chown(p("owned"), 3_000_000_000, 2_097_152))
	write(t, p("suid"), "x")
	must(t, os.Chmod(p("suid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	write(t, p("capable"), "x")
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(p("capable"), "security.capability", capability, 0),
		unix.Setxattr(p("capable"), "user.note", []byte("a\x00b\n"), 0),
		unix.Setxattr(p("a"), "user.dir", []byte("d"), 0))
	f, err := os.Create(p("sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 3<<20)
	must(t, err, f.Truncate(4<<20+7), f.Close())
	write(t, p("big"), strings.Repeat("0123456789abcde\n", 100_001)[:chunkSize*3+17])
	write(t, p("block-sized"), strings.Repeat("x", blockSize))
	must(t, unix.Mknod(p("sock"), unix.S_IFSOCK|0o666, 0))
	write(t, p("before"), "1970")
}

func oddNames(t testing.TB, dir string) {
	for _, name := range []string{
		"with space", "quote\"back\\slash", "new\nline", "ümlaut", "\xff\xfe", "wh.plain", "-dash", "tail ", strings.Repeat("n", 255),
		strings.Repeat("é", 127),
	} {
		write(t, filepath.Join(dir, name), name)
	}
	deep := dir
	for range 4 {
		deep = filepath.Join(deep, strings.Repeat("d", 90))
		must(t, os.Mkdir(deep, 0o755))
		write(t, filepath.Join(deep, "leaf"), "leaf")
		write(t, filepath.Join(deep, strings.Repeat("f", 90)), "leaf")
	}
	must(t, os.Link(filepath.Join(deep, "leaf"), filepath.Join(deep, "leaf2")))
}

// variants are the ways a layer can be made. The layers must be the same.
var variants = []struct {
	driver string
	move   bool
}{{"overlay", true}, {"overlay", false}, {"vfs", true}}

func TestCommit(t *testing.T) {
	var want Result
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) {
			st := openStore(t, v.driver)
			rw, _ := work(t, st, "", baseTree)
			base := mustCommit(t, st, rw, "", Options{Move: v.move})
			verify(t, st, "", base)
			rw, tree := work(t, st, base.ID, changeTree)
			tar, written := mustWrite(t, st, rw, base.ID, false)
			sameTrees(t, in(t, st, rw, nil), tree)
			got := mustCommit(t, st, rw, base.ID, Options{Move: v.move})
			if written.ID = got.ID; written != got || digest.FromBytes(tar) != got.DiffID {
				t.Errorf("wrote %+v, stored %+v", written, got)
			}
			if !v.move {
				sameTrees(t, in(t, st, rw, nil), tree) // the container goes on
			}
			b := verify(t, st, base.ID, got)
			top, _ := work(t, st, got.ID, func(t testing.TB, root string) { sameTrees(t, snapshot(t, root), tree) })
			must(t, st.DeleteLayer(top), st.DeleteLayer(rw))
			checkStore(t, st)
			acceptable(t, b)
			if want.ID == "" {
				want = got
			}
			if got != want {
				t.Errorf("got %+v, another way gave %+v: %q", got, want, names(t, b))
			}
			if again := commitAgain(t, st, base.ID, v.move); again != got {
				t.Errorf("a second container gave %+v, want %+v", again, got)
			}
		})
	}
}

func commitAgain(t *testing.T, st storage.Store, parent string, move bool) Result {
	rw, _ := work(t, st, parent, changeTree)
	res := mustCommit(t, st, rw, parent, Options{Move: move})
	noStaging(t, st)
	must(t, st.DeleteLayer(rw))
	return res
}

// acceptable checks order and content of a tar with archive/tar, and that GNU tar takes it.
func acceptable(t *testing.T, b []byte) {
	t.Helper()
	list := entries(t, b)
	if len(list) < 40 {
		t.Errorf("only %d entries", len(list))
	}
	seen := map[string]bool{".": true}
	for _, h := range list {
		name := strings.TrimSuffix(h.Name, "/")
		if seen[name] || !seen[filepath.Dir(name)] {
			t.Errorf("%q comes twice or before its directory", name)
		}
		seen[name] = true
		if h.Uname+h.Gname != "" || h.ModTime.Nanosecond() != 0 || !h.AccessTime.IsZero() || !h.ChangeTime.IsZero() {
			t.Errorf("%q tells too much: %+v", name, h)
		}
		if h.Typeflag == '1' && !seen[h.Linkname] {
			t.Errorf("%q links to %q, which comes later", name, h.Linkname)
		}
	}
	for _, name := range []string{".wh.gone", "usr/lib/old/.wh.a", "new/\xff\xfe", "new/owned"} {
		if !seen[name] {
			t.Errorf("%q is missing", name)
		}
	}
	if seen["run"] || seen["new/sock"] || seen["etc/same"] {
		t.Error("unchanged directory, unchanged file or socket in the layer")
	}
	file := filepath.Join(t.TempDir(), "layer.tar")
	must(t, os.WriteFile(file, b, 0o600))
	out, err := exec.Command("tar", "-tvf", file).CombinedOutput()
	if err != nil || strings.Count(string(out), "\n") < len(list) || strings.Contains(string(out), "tar: ") {
		t.Errorf("tar: %v\n%s", err, out)
	}
}

// A file of the base that gets a further name is in the layer under both, one file, whichever way the driver tells what changed.
func TestFurtherName(t *testing.T) {
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", func(t testing.TB, root string) {
			must(t, os.Mkdir(filepath.Join(root, "a"), 0o755), os.Mkdir(filepath.Join(root, "b"), 0o755))
			write(t, filepath.Join(root, "a/file"), "x")
			write(t, filepath.Join(root, "b/other"), "y")
		})
		base := mustCommit(t, st, rw, "", Options{Move: true})
		rw, _ = work(t, st, base.ID, func(t testing.TB, root string) {
			must(t, os.Link(filepath.Join(root, "a/file"), filepath.Join(root, "b/further")))
		})
		var got []string
		for _, h := range entries(t, verify(t, st, base.ID, mustCommit(t, st, rw, base.ID, Options{Move: move}))) {
			if h.Typeflag != tar.TypeDir {
				got = append(got, fmt.Sprintf("%c %s %s", h.Typeflag, h.Name, h.Linkname))
			}
		}
		if want := []string{"0 a/file ", "1 b/further a/file"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// A directory that takes the place of another hides what that held.
func TestReplacedDirectory(t *testing.T) {
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) {
			st := openStore(t, v.driver)
			rw, _ := work(t, st, "", baseTree)
			base := mustCommit(t, st, rw, "", Options{Move: true})
			rw, tree := work(t, st, base.ID, func(t testing.TB, root string) {
				old := filepath.Join(root, "usr/lib/old")
				must(t, os.RemoveAll(old), os.MkdirAll(filepath.Join(old, "deep"), 0o755), os.MkdirAll(filepath.Join(old, "fresh"), 0o755))
				write(t, filepath.Join(old, "c"), "c")
				settle(t, root, true)
			})
			res := mustCommit(t, st, rw, base.ID, Options{Move: v.move})
			b := verify(t, st, base.ID, res)
			_, _ = work(t, st, res.ID, func(t testing.TB, root string) { sameTrees(t, snapshot(t, root), tree) })
			got := names(t, b)
			if v.driver == "overlay" && !slices.Contains(got, "usr/lib/old/.wh..wh..opq") {
				t.Errorf("no opaque marker in %q", got)
			}
			if slices.Contains(got, "usr/lib/old/fresh/.wh..wh..opq") {
				t.Errorf("a new directory hides nothing: %q", got)
			}
		})
	}
}

// What a replaced directory holds is in the layer, also what is like that which it hides.
func TestReplacedByTheLike(t *testing.T) {
	make := func(t testing.TB, root string) {
		must(t, os.MkdirAll(filepath.Join(root, "a/b/empty/below"), 0o755))
		write(t, filepath.Join(root, "a/b/file"), "x")
		for _, name := range []string{"a/b/file", "a/b/empty/below", "a/b/empty", "a/b", "a"} { // whole seconds, as in layers
			must(t, os.Chtimes(filepath.Join(root, name), testEpoch, testEpoch))
		}
	}
	eachVariant(t, func(t *testing.T, st storage.Store, move bool) {
		rw, _ := work(t, st, "", make)
		base := mustCommit(t, st, rw, "", Options{Move: true})
		rw, tree := work(t, st, base.ID, func(t testing.TB, root string) {
			must(t, os.RemoveAll(filepath.Join(root, "a/b")))
			make(t, root)
		})
		res := mustCommit(t, st, rw, base.ID, Options{Move: move, AllowEmpty: true})
		verify(t, st, base.ID, res)
		_, got := work(t, st, res.ID, nil)
		sameTrees(t, got, tree)
	})
}

func TestTimes(t *testing.T) {
	late := testEpoch.Unix() + 100
	for _, v := range variants {
		for name, o := range map[string]Options{"epoch": {Epoch: &testEpoch}, "clamp": {Clamp: &testEpoch}} {
			t.Run(fmt.Sprintf("%s %s move=%v", name, v.driver, v.move), func(t *testing.T) {
				st := openStore(t, v.driver)
				rw, _ := work(t, st, "", func(t testing.TB, root string) {
					write(t, filepath.Join(root, "late"), "x")
					must(t, os.Mkdir(filepath.Join(root, "d"), 0o755), os.Symlink("x", filepath.Join(root, "d/l")))
					write(t, filepath.Join(root, "early"), "x")
					at(t, filepath.Join(root, "late"), late)
					at(t, filepath.Join(root, "early"), 1000)
				})
				o.Move = v.move
				res := mustCommit(t, st, rw, "", o)
				early := int64(1000)
				if o.Epoch != nil {
					early = testEpoch.Unix()
				}
				for _, h := range entries(t, verify(t, st, "", res)) {
					want := testEpoch.Unix()
					if h.Name == "early" {
						want = early
					}
					if h.ModTime.Unix() != want {
						t.Errorf("%s has %d, want %d", h.Name, h.ModTime.Unix(), want)
					}
				}
			})
		}
	}
}

// mustWrite returns what Write writes, and sees that it stores nothing.
func mustWrite(t testing.TB, st storage.Store, rw, parent string, squash bool) ([]byte, Result) {
	t.Helper()
	before, err := st.Layers()
	must(t, err)
	var tar bytes.Buffer
	res, err := Write(context.Background(), st, rw, parent, squash, &tar, Options{TempDir: t.TempDir()})
	must(t, err)
	after, err := st.Layers()
	must(t, err)
	if len(after) != len(before) {
		t.Errorf("%d layers are stored, were %d", len(after), len(before))
	}
	return tar.Bytes(), res
}

func TestEmpty(t *testing.T) {
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) {
			st := openStore(t, v.driver)
			rw, _ := work(t, st, "", nil)
			res := mustCommit(t, st, rw, "", Options{Move: v.move})
			if !res.Empty || res.ID != "" {
				t.Errorf("got %+v, want no layer", res)
			}
			res = mustCommit(t, st, rw, "", Options{Move: v.move, AllowEmpty: true})
			if want := digest.FromBytes(make([]byte, 1024)); !res.Empty || res.DiffID != want {
				t.Errorf("got %+v, want the empty tar %s", res, want)
			}
			verify(t, st, "", res)
		})
	}
}

// An equal layer is stored once; names go to whom they were given last.
func TestNames(t *testing.T) {
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) {
			st := openStore(t, v.driver)
			file := func(text string) func(testing.TB, string) {
				return func(t testing.TB, root string) { write(t, filepath.Join(root, "f"), text); settle(t, root, true) }
			}
			var got []Result
			for i, text := range []string{"one", "one", "two"} {
				rw, _ := work(t, st, "", file(text))
				got = append(got, mustCommit(t, st, rw, "", Options{Move: v.move, Names: []string{"shared", fmt.Sprint("own", i)}}))
				must(t, st.DeleteLayer(rw))
				noStaging(t, st)
			}
			if got[0] != got[1] || got[0] == got[2] {
				t.Errorf("got %+v", got)
			}
			for name, want := range map[string]string{"shared": got[2].ID, "own0": got[0].ID, "own1": got[0].ID, "own2": got[2].ID} {
				if l, err := st.Layer(name); err != nil || l.ID != want {
					t.Errorf("%s: %v, %v", name, l, err)
				}
			}
			checkStore(t, st)
		})
	}
}

// What runs make to mount on is not part of the layer, unless something was put there.
func TestStubs(t *testing.T) {
	for _, v := range variants {
		t.Run(fmt.Sprintf("%s move=%v", v.driver, v.move), func(t *testing.T) {
			st := openStore(t, v.driver)
			rw, _ := work(t, st, "", baseTree)
			base := mustCommit(t, st, rw, "", Options{Move: true})
			rw, _ = work(t, st, base.ID, func(t testing.TB, root string) {
				p := func(name string) string { return filepath.Join(root, name) }
				must(t, os.Mkdir(p("dev"), 0o755), os.Mkdir(p("proc"), 0o755), os.MkdirAll(p("run/secrets"), 0o755), os.MkdirAll(p("mnt/x/y"), 0o755))
				write(t, p("etc/resolv.conf"), "")
				write(t, p("run/secrets/kept"), "content")
				must(t, os.Mkdir(p("etc/cache"), 0o755))
				at(t, p("var"), 12345) // something was made in it and removed again
			})
			o := Options{Move: v.move, Excludes: []string{"/etc/resolv.conf", "run/secrets/kept", "/run/secrets/none", "/etc/cache", "/mnt", "/mnt/x", "mnt/x/y/", "/var/tmp"}}
			res := mustCommit(t, st, rw, base.ID, o)
			got := names(t, verify(t, st, base.ID, res))
			if want := []string{"run/", "run/secrets/", "run/secrets/kept"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestSquash(t *testing.T) {
	var want Result
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			st := openStore(t, driver)
			rw, _ := work(t, st, "", func(t testing.TB, root string) {
				baseTree(t, root)
				must(t, os.Mkdir(filepath.Join(root, "full"), 0o755))
			})
			base := mustCommit(t, st, rw, "", Options{})
			rw, tree := work(t, st, base.ID, changeTree)
			tar, written := mustWrite(t, st, rw, base.ID, true)
			got, err := Squash(context.Background(), st, rw, Options{TempDir: t.TempDir()})
			must(t, err)
			if written.ID = got.ID; written != got || digest.FromBytes(tar) != got.DiffID {
				t.Errorf("wrote %+v, stored %+v", written, got)
			}
			b := verify(t, st, "", got)
			_, _ = work(t, st, got.ID, func(t testing.TB, root string) { sameTrees(t, snapshot(t, root), tree) })
			sameTrees(t, in(t, st, rw, nil), tree)
			for _, name := range names(t, b) {
				if strings.Contains(name, ".wh.") {
					t.Errorf("%s in a whole file system", name)
				}
			}
			if want.ID == "" {
				want = got
			}
			if got != want {
				t.Errorf("got %+v, another driver gave %+v", got, want)
			}
		})
	}
}

// A tree is the same layer over whatever it is laid, and shows there as it is but for the root.
func TestTree(t *testing.T) {
	var want Result
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			st := openStore(t, driver)
			dir := t.TempDir()
			must(t, os.Mkdir(filepath.Join(dir, "proc"), 0o755), os.MkdirAll(filepath.Join(dir, "usr/lib/old"), 0o700))
			specials(t, dir)
			settle(t, dir, true)
			before := snapshot(t, dir)
			rw, _ := work(t, st, "", func(t testing.TB, root string) {
				baseTree(t, root)
				must(t, os.Chmod(root, 0o751), os.Symlink("usr", filepath.Join(root, "a")))
			})
			base := mustCommit(t, st, rw, "", Options{})
			for _, parent := range []string{"", base.ID} {
				got, err := Tree(context.Background(), st, dir, parent, Options{TempDir: t.TempDir()})
				must(t, err)
				verify(t, st, parent, got)
				if want.DiffID == "" && parent != "" {
					want = got
				}
				if parent != "" && got.DiffID != want.DiffID {
					t.Errorf("got %+v, another driver gave %+v", got, want)
				}
				top, _ := work(t, st, got.ID, func(t testing.TB, root string) { shows(t, root, before, parent) })
				must(t, st.DeleteLayer(top))
			}
			sameTrees(t, snapshot(t, dir), before)
			noStaging(t, st)
		})
	}
}

// shows checks that what is in tree is in root, and that the root's own mode is the parent's.
func shows(t testing.TB, root string, tree map[string]string, parent string) {
	seen := snapshot(t, root)
	for name, what := range tree {
		if name != "." && seen[name] != what {
			t.Errorf("%s is %q over %q, want %q", name, seen[name], parent, what)
		}
	}
	info, err := os.Stat(root)
	must(t, err)
	if parent != "" && info.Mode().Perm() != 0o751 {
		t.Errorf("the root has mode %v over %s", info.Mode(), parent)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/hosts")); (err == nil) != (parent != "") {
		t.Errorf("what is below %q: %v", parent, err)
	}
}

// What cannot be in a layer is refused, and nothing is left behind or lost.
func TestRefused(t *testing.T) {
	for _, v := range variants {
		for name, make := range map[string]func(t testing.TB, root string){
			".wh.": func(t testing.TB, root string) { write(t, filepath.Join(root, ".wh.passwd"), "") },
			"user.a=b": func(t testing.TB, root string) {
				write(t, filepath.Join(root, "f"), "")
				must(t, unix.Setxattr(filepath.Join(root, "f"), "user.a=b", []byte("x"), 0))
			},
		} {
			t.Run(fmt.Sprintf("%s %s move=%v", name, v.driver, v.move), func(t *testing.T) {
				st := openStore(t, v.driver)
				rw, tree := work(t, st, "", make)
				before, err := st.Layers()
				must(t, err)
				_, err = Commit(context.Background(), st, rw, "", Options{Move: v.move, TempDir: t.TempDir()})
				if err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("got %v, want an error that names %s", err, name)
				}
				after, err := st.Layers()
				must(t, err)
				if len(after) != len(before) {
					t.Errorf("%d layers, want %d", len(after), len(before))
				}
				noStaging(t, st)
				sameTrees(t, in(t, st, rw, nil), tree)
			})
		}
	}
}

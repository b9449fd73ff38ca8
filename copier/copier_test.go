package copier

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// tree makes files; a name that ends in "/" is a directory, a text that begins with "->" a link.
func tree(t *testing.T, files map[string]string) (*rootfs.Root, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case strings.HasPrefix(text, "->"):
			err = os.Symlink(text[2:], p)
		default:
			err = os.WriteFile(p, []byte(text), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := rootfs.Open(dir, rootfs.Ignore)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

// list describes a tree, one line an entry: path, type and content.
func list(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		switch {
		case d.IsDir():
			rel += "/"
		case d.Type()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			rel += "->" + target
		default:
			b, _ := os.ReadFile(p)
			rel += "=" + string(b)
		}
		lines = append(lines, rel)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, " ")
}

// What COPY selects and where it puts it (dockerfile.md §6.2, §6.3, §6.8, §7).
func TestCopy(t *testing.T) {
	t.Parallel()
	src := map[string]string{
		"f1": "1", "f2": "2", "d/a": "a", "d/s/b": "b", "d/s/t/c": "c", "link": "->f1", "dlink": "->d", "d/in": "->a", "x.txt": "x", "y.txt": "y",
	}
	for _, c := range []struct {
		name, dest, want string
		patterns         []string
		have             map[string]string
		o                Options
		ignore           string
		fails            string
	}{
		{name: "file to a name", patterns: []string{"f1"}, dest: "/n", want: "n=1"},
		{name: "file to a new directory", patterns: []string{"f1"}, dest: "/n/", want: "n/ n/f1=1"},
		{name: "file to an existing directory", patterns: []string{"f1"}, have: map[string]string{"n/": ""}, dest: "/n", want: "n/ n/f1=1"},
		{name: "contents of a directory, all levels", patterns: []string{"d"}, dest: "/n", want: "n/ n/a=a n/in->a n/s/ n/s/b=b n/s/t/ n/s/t/c=c"},
		{name: "the source cannot be left", patterns: []string{"../../f1"}, dest: "/n", want: "n=1"},
		{name: "a link is followed", patterns: []string{"link"}, dest: "/n", want: "n=1"},
		{name: "a link to a directory is followed", patterns: []string{"dlink"}, dest: "/n", want: "n/ n/a=a n/in->a n/s/ n/s/b=b n/s/t/ n/s/t/c=c"},
		{name: "a link as a link", patterns: []string{"link"}, dest: "/n", o: Options{NoFollow: true}, want: "n->f1"},
		{name: "wildcards", patterns: []string{"*.txt"}, dest: "/n/", want: "n/ n/x.txt=x n/y.txt=y"},
		{name: "no match", patterns: []string{"*.no"}, dest: "/n/", fails: "matched nothing"},
		{name: "no match allowed", patterns: []string{"*.no"}, dest: "/n/", o: Options{AllowEmptyWildcard: true}, want: ""},
		{name: "missing", patterns: []string{"nope"}, dest: "/n", fails: `copier: stat: "/nope": no such file or directory`},
		{name: "through a dangling link", patterns: []string{"f1"}, have: map[string]string{"l": "->/r/t", "r/": ""}, dest: "/l", want: "l->/r/t r/ r/t=1"},
		{name: "a link inside is replaced", patterns: []string{"d"}, have: map[string]string{"n/a": "->/victim", "victim": "v"}, dest: "/n",
			want: "n/ n/a=a n/in->a n/s/ n/s/b=b n/s/t/ n/s/t/c=c victim=v"},
		{name: "a directory is no file", patterns: []string{"d"}, have: map[string]string{"n/s": "file"}, dest: "/n", fails: "cannot copy to non-directory"},
		{name: "parents", patterns: []string{"d/s/b"}, dest: "/n", o: Options{Parents: true}, want: "n/ n/d/ n/d/s/ n/d/s/b=b"},
		{name: "parents from a pivot", patterns: []string{"d/./s/*"}, dest: "/n", o: Options{Parents: true}, want: "n/ n/s/ n/s/b=b n/s/t/ n/s/t/c=c"},
		{name: "excludes", patterns: []string{"d"}, dest: "/n", o: Options{Excludes: []string{"s"}}, want: "n/ n/a=a n/in->a"},
		{name: "ignored", patterns: []string{"f1"}, dest: "/n", ignore: "f*", fails: "no such file or directory"},
		{name: "re-included in an ignored directory", patterns: []string{"."}, dest: "/n", ignore: "**\n!d/s/t/c", want: "n/ n/d/ n/d/s/ n/d/s/t/ n/d/s/t/c=c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			from, _ := tree(t, src)
			to, dir := tree(t, c.have)
			if c.ignore != "" {
				var err error
				if c.o.Ignore, err = ParseIgnore("ignore", strings.NewReader(c.ignore)); err != nil {
					t.Fatal(err)
				}
			}
			before, derr := Digest(context.Background(), from, c.patterns, c.o)
			content, err := Copy(context.Background(), to, c.dest, from, c.patterns, c.o)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got error %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil || derr != nil {
				t.Fatal(err, derr)
			}
			if got := list(t, dir); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if before.Digest != content.Digest || before.Kind != content.Kind {
				t.Errorf("Digest says %v, Copy %v", before, content)
			}
		})
	}
}

// A copy into what is copied, as within one container, does not go on in its own result.
func TestIntoItself(t *testing.T) {
	t.Parallel()
	for _, dest := range []string{"/d/new", "/d/new/er", "/d/s"} {
		root, dir := tree(t, map[string]string{"d/a": "a", "d/s/b": "b"})
		if _, err := Copy(context.Background(), root, dest, root, []string{"d"}, Options{}); err == nil || !strings.Contains(err.Error(), "cannot be copied into itself") {
			t.Errorf("%s: %v", dest, err)
		}
		if got := list(t, dir); len(got) > 100 || !strings.Contains(got, "d/s/b=b") {
			t.Errorf("%s: left %s", dest, got)
		}
	}
	root, dir := tree(t, map[string]string{"d/a": "a"})
	for _, dest := range []string{"/d", "/d2"} {
		if _, err := Copy(context.Background(), root, dest, root, []string{"d"}, Options{}); err != nil {
			t.Errorf("%s: %v", dest, err)
		}
	}
	if got := list(t, dir); got != "d/ d/a=a d2/ d2/a=a" {
		t.Errorf("left %s", got)
	}
}

// The digest depends on everything but times.
func TestDigest(t *testing.T) {
	t.Parallel()
	sum := func(files map[string]string, change func(dir string)) string {
		r, dir := tree(t, files)
		if change != nil {
			change(dir)
		}
		c, err := Digest(context.Background(), r, []string{"."}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c.Digest.String()
	}
	base := map[string]string{"a": "1", "d/b": "2", "l": "->a"}
	want := sum(base, nil)
	if got := sum(base, func(dir string) { _ = os.Chtimes(filepath.Join(dir, "a"), time.Unix(1, 0), time.Unix(1, 0)) }); got != want {
		t.Error("a time changed the digest")
	}
	for name, got := range map[string]string{
		"content": sum(map[string]string{"a": "x", "d/b": "2", "l": "->a"}, nil),
		"name":    sum(map[string]string{"A": "1", "d/b": "2", "l": "->a"}, nil),
		"link":    sum(map[string]string{"a": "1", "d/b": "2", "l": "->b"}, nil),
		"place":   sum(map[string]string{"a": "1", "b": "2", "d/": "", "l": "->a"}, nil),
		"mode":    sum(base, func(dir string) { _ = os.Chmod(filepath.Join(dir, "a"), 0o600) }),
	} {
		if got == want {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestHardLinksAndHoles(t *testing.T) {
	t.Parallel()
	from, dir := tree(t, map[string]string{"d/a": "x"})
	if err := os.Link(filepath.Join(dir, "d/a"), filepath.Join(dir, "d/b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "d/a"), 8<<20); err != nil {
		t.Fatal(err)
	}
	to, out := tree(t, nil)
	if _, err := Copy(context.Background(), to, "/n", from, []string{"d"}, Options{}); err != nil {
		t.Fatal(err)
	}
	a, _ := os.Stat(filepath.Join(out, "n/a"))
	b, _ := os.Stat(filepath.Join(out, "n/b"))
	if !os.SameFile(a, b) || a.Size() != 8<<20 {
		t.Errorf("not one file of 8 MiB: %v %v", a, b)
	}
	info, err := to.Stat("/n/a")
	if err != nil || info.Nlink != 2 {
		t.Errorf("%+v %v", info, err)
	}
}

func archive(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, h := range entries {
		h.Size = int64(len(h.Uname))
		text := h.Uname // the content, so that a table row is one value
		h.Uname = ""
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Archives cannot write outside, by names or by links that they make first.
func TestExtractHostile(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	blob := archive(t,
		&tar.Header{Name: "../../up", Typeflag: tar.TypeReg, Mode: 0o644, Uname: "1"},
		&tar.Header{Name: "esc", Typeflag: tar.TypeSymlink, Linkname: outside},
		&tar.Header{Name: "esc/planted", Typeflag: tar.TypeReg, Mode: 0o644, Uname: "2"},
		&tar.Header{Name: "/abs", Typeflag: tar.TypeReg, Mode: 0o644, Uname: "3"})
	to, dir := tree(t, nil)
	if _, err := Extract(context.Background(), to, "/n", bytes.NewReader(blob), Options{}); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Fatalf("written outside: %v", left)
	}
	for _, want := range []string{"n/up=1", "n/abs=3", "n" + outside + "/planted=2"} {
		if got := list(t, dir); !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	for name, h := range map[string]*tar.Header{
		"whiteout":     {Name: "d/.wh.x", Typeflag: tar.TypeReg},
		"outside link": {Name: "x", Typeflag: tar.TypeLink, Linkname: "../nothing"},
	} {
		if _, err := Extract(context.Background(), to, "/n", bytes.NewReader(archive(t, h)), Options{}); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
	if _, err := Extract(context.Background(), to, "/n", bytes.NewReader(blob[:len(blob)/2]), Options{}); err == nil {
		t.Error("half an archive was unpacked without a word")
	}
}

// touching is a context that does something each time it is asked, as copying does between two reads.
type touching struct {
	context.Context //nolint:containedctx // it is one
	f               func()
}

func (c touching) Err() error { c.f(); return c.Context.Err() }

// An archive that is written to while it is unpacked is not what its digest was made of.
func TestArchiveTouched(t *testing.T) {
	t.Parallel()
	src, dir := tree(t, map[string]string{"a.tar": string(archive(t, &tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid()}))})
	o := Options{Unpack: true}
	want, err := Digest(context.Background(), src, []string{"a.tar"}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, touched := range []bool{false, true} {
		dst, to := tree(t, nil)
		ctx := touching{context.Background(), func() {
			if _, err := os.Stat(filepath.Join(to, "f")); err == nil && touched {
				if err := os.Chtimes(filepath.Join(dir, "a.tar"), time.Time{}, time.Unix(1, 0)); err != nil {
					t.Error(err)
				}
			}
		}}
		got, err := Copy(ctx, dst, "/", src, []string{"a.tar"}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest != want.Digest || (got.State == want.State) == touched {
			t.Errorf("touched: %v, but got %+v after %+v", touched, got, want)
		}
	}
}

// Each file is found once, however many stars lead to it.
func TestDeepTwice(t *testing.T) {
	t.Parallel()
	src, _ := tree(t, map[string]string{"a/b/f": "", "a/f": ""})
	got, err := Digest(context.Background(), src, []string{"**/**/f"}, Options{Parents: true})
	if err != nil || got.Files != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A directory of the source, and one of the destination, is swapped for a link to the outside all the time.
func TestRace(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "b"), []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	from, src := tree(t, map[string]string{"d/s/b": "b"})
	to, dst := tree(t, map[string]string{"n/s/": ""})
	var wins atomic.Int64
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, p := range []string{filepath.Join(src, "d/s"), filepath.Join(dst, "n/s")} {
				if os.Rename(p, p+".away") == nil {
					_ = os.Symlink(outside, p)
					wins.Add(1)
					_ = os.Remove(p)
					_ = os.RemoveAll(p)
					_ = os.Rename(p+".away", p)
				}
			}
		}
	}()
	copies := 0
	for ctx.Err() == nil {
		_, err := Copy(context.Background(), to, "/n", from, []string{"d"}, Options{})
		copies++
		_ = err // refusing is as good as copying what was there
		if b := readBelow(filepath.Join(dst, "n"), "s", "b"); b == "outside" {
			t.Fatal("the outside was copied in")
		}
	}
	<-done
	if b, err := os.ReadFile(filepath.Join(outside, "b")); err != nil || string(b) != "outside" {
		t.Fatalf("written outside: %q %v", b, err)
	}
	if left, _ := os.ReadDir(outside); len(left) != 1 {
		t.Fatalf("made outside: %v", left)
	}
	if wins.Load() == 0 || copies == 0 {
		t.Fatalf("nothing was raced: %d swaps, %d copies", wins.Load(), copies)
	}
}

// readBelow reads dir/sub/name where sub is a directory, not the link that the attacker puts there at times.
func readBelow(dir, sub, name string) string {
	d, err := unix.Open(filepath.Join(dir, sub), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(d)
	fd, err := unix.Openat(d, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	b, _ := io.ReadAll(f)
	return string(b)
}

func TestChmod(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text       string
		perm, want uint32
		dir        bool
	}{
		{"755", 0o600, 0o755, false}, {"4711", 0, 0o4711, false}, {"+x", 0o644, 0o755, false}, {"u=rwX,go=rX", 0o600, 0o644, false},
		{"u=rwX,go=rX", 0o600, 0o755, true}, {"a-w", 0o666, 0o444, false}, {"g=u", 0o640, 0o660, false}, {"u+s,o+t", 0o755, 0o5755, false}, {"", 0o123, 0o123, false},
	} {
		m, err := ParseChmod(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Apply(c.perm, c.dir); got != c.want {
			t.Errorf("%s on %o: got %o, want %o", c.text, c.perm, got, c.want)
		}
	}
	for _, text := range []string{"99", "10000", "u", "z+x", "u*x", "+"} {
		if m, err := ParseChmod(text); err == nil && text != "+" {
			t.Errorf("%q was taken for %+v", text, m)
		}
	}
}

func FuzzChmod(f *testing.F) {
	for _, s := range []string{"755", "u+x", "a=rX,g-s", ",", "=", "u=g+o"} {
		f.Add(s, uint32(0o644))
	}
	f.Fuzz(func(t *testing.T, text string, perm uint32) {
		m, err := ParseChmod(text)
		if err != nil {
			return
		}
		if got := m.Apply(perm&0o7777, false); got > 0o7777 {
			t.Fatalf("%q gives %o", text, got)
		}
	})
}

// FuzzExtract: no archive writes outside the root, and none makes us panic.
func FuzzExtract(f *testing.F) {
	f.Add([]byte("not an archive"))
	f.Add(archive(f, &tar.Header{Name: "../d/", Typeflag: tar.TypeDir}, &tar.Header{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "../../.."}, &tar.Header{Name: "d/l/f", Typeflag: tar.TypeReg, Uname: "x"},
		&tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "d/l/f"}, &tar.Header{Name: "p", Typeflag: tar.TypeFifo}))
	f.Fuzz(func(t *testing.T, blob []byte) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
			t.Fatal(err)
		}
		r, err := rootfs.Open(filepath.Join(dir, "root"), rootfs.Ignore)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		_, _ = Extract(context.Background(), r, "/", bytes.NewReader(blob), Options{})
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 1 {
			t.Fatalf("outside: %v %v", left, err)
		}
	})
}

package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/reexec"
	"github.com/opencontainers/go-digest"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	os.Exit(m.Run())
}

// eachDriver runs a test on a store of each driver.
func eachDriver(t *testing.T, f func(t *testing.T, st storage.Store)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: mounting needs root")
	}
	for _, name := range []string{"overlay", "vfs"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := storage.StoreOptions{GraphRoot: dir + "/root", RunRoot: dir + "/run", GraphDriverName: name}
			if name == "overlay" {
				o.GraphDriverOptions = []string{"overlay.skip_mount_home=true"}
			}
			st, err := storage.GetStore(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _, _ = st.Shutdown(true) })
			f(t, st)
		})
	}
}

// change makes a writable layer over parent and runs a shell script in it.
func change(t *testing.T, st storage.Store, parent, script string) string {
	t.Helper()
	l, err := st.CreateLayer("", parent, nil, "", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := st.Mount(l.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if _, err := st.Unmount(l.ID, true); err != nil {
		t.Fatal(err)
	}
	return l.ID
}

const firstScript = `umask 022; mkdir -p etc dir/sub old; echo a >etc/a; echo b >etc/b; echo gone >old/gone; ln -s ../a dir/link; ln etc/a dir/hard
	mkfifo dir/fifo; mknod dir/null c 1 3; chmod 4755 etc/b; chown 12:34 etc/a; chmod 1777 dir; touch -d @1000000000.5 etc/a
	n=$(printf '%0200d' 0); echo long >dir/$n; mkdir -p $n/$n; echo deep >$n/$n/file; printf 'bytes' >"$(printf 'dir/\377name')"`

const secondScript = `rm old/gone; echo new >etc/new; rm -r dir/sub; mkdir dir/sub; touch dir/sub/x; mkdir proc sys dev`

// entries lists a tar as "name type mode uid gid size link".
func entries(t *testing.T, r io.Reader) map[string]*tar.Header {
	t.Helper()
	m := map[string]*tar.Header{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		m[h.Name] = h
	}
}

func diff(t *testing.T, st storage.Store, id string) []byte {
	t.Helper()
	none := archive.Uncompressed
	r, err := st.Diff("", id, &storage.DiffOptions{Compression: &none})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A stored layer gives back the bytes it is named after, has what was changed, and the store is sound.
func TestCommit(t *testing.T) {
	eachDriver(t, func(t *testing.T, st storage.Store) {
		for _, move := range []bool{false, true} {
			o := Options{Names: []string{"slipway:one"}, Move: move}
			one, err := Commit(context.Background(), st, change(t, st, "", firstScript), "", o)
			if err != nil {
				t.Fatal(err)
			}
			o.Names = nil
			two, err := Commit(context.Background(), st, change(t, st, one.ID, secondScript), one.ID, o)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range []Result{one, two} {
				blob := diff(t, st, l.ID)
				if digest.FromBytes(blob) != l.DiffID || int64(len(blob)) != l.Size {
					t.Errorf("move %v: storage gives back %s, %d bytes; layer is %s, %d", move, digest.FromBytes(blob), len(blob), l.DiffID, l.Size)
				}
			}
			if rec, err := st.Layer("slipway:one"); err != nil || rec.ID != one.ID {
				t.Errorf("by name: %v %v", rec, err)
			}
			checkFirst(t, entries(t, bytes.NewReader(diff(t, st, one.ID))))
			checkSecond(t, entries(t, bytes.NewReader(diff(t, st, two.ID))))
		}
		report, err := st.Check(storage.CheckEverything())
		if err != nil || len(report.Layers)+len(report.ROLayers) > 0 {
			t.Errorf("store: %+v %v", report.Layers, err)
		}
	})
}

func checkFirst(t *testing.T, m map[string]*tar.Header) {
	t.Helper()
	long := strings.Repeat("0", 200)
	for name, ok := range map[string]func(h *tar.Header) bool{
		"etc/a":                     func(h *tar.Header) bool { return h.Typeflag == tar.TypeLink || h.Uid == 12 && h.Gid == 34 },
		"dir/hard":                  func(h *tar.Header) bool { return h.Uid == 12 && h.ModTime.Equal(time.Unix(1000000000, 0)) },
		"etc/b":                     func(h *tar.Header) bool { return h.Mode == 0o4755 && h.Uname == "" && h.Gname == "" },
		"dir/":                      func(h *tar.Header) bool { return h.Mode == 0o1777 },
		"dir/link":                  func(h *tar.Header) bool { return h.Linkname == "../a" },
		"dir/fifo":                  func(h *tar.Header) bool { return h.Typeflag == tar.TypeFifo },
		"dir/null":                  func(h *tar.Header) bool { return h.Typeflag == tar.TypeChar && h.Devmajor == 1 && h.Devminor == 3 },
		"dir/" + long:               func(h *tar.Header) bool { return h.Size == 5 },
		long + "/" + long + "/file": func(h *tar.Header) bool { return h.Size == 5 },
		"dir/\xffname":              func(h *tar.Header) bool { return h.Size == 5 },
	} {
		if h := m[name]; h == nil || !ok(h) {
			t.Errorf("%q: %+v", name, h)
		}
	}
}

func checkSecond(t *testing.T, m map[string]*tar.Header) {
	t.Helper()
	for _, name := range []string{"old/", "old/.wh.gone", "etc/", "etc/new", "dir/sub/", "dir/sub/x"} {
		if m[name] == nil {
			t.Errorf("%q is missing", name)
		}
	}
	for name := range m {
		if strings.HasPrefix(name, "proc") || strings.HasPrefix(name, "sys") || strings.HasPrefix(name, "dev") || name == "etc/a" || name == "etc/b" {
			t.Errorf("%q is not a change", name)
		}
	}
}

// The same changes make the same layer, with all times fixed, on every driver.
func TestReproducible(t *testing.T) {
	var seen []digest.Digest
	eachDriver(t, func(t *testing.T, st storage.Store) {
		epoch := time.Unix(1700000000, 0)
		for range 2 {
			l, err := Commit(context.Background(), st, change(t, st, "", firstScript), "", Options{Epoch: &epoch, Move: true})
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, l.DiffID)
		}
	})
	for _, d := range seen {
		if d != seen[0] {
			t.Errorf("layers differ: %v", seen)
		}
	}
}

func TestUnchanged(t *testing.T) {
	eachDriver(t, func(t *testing.T, st storage.Store) {
		base, err := Commit(context.Background(), st, change(t, st, "", firstScript), "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		// Something was mounted on: the directory was copied up and has its time back.
		stub := `m=$(stat -c %Y.%y etc | sed 's/.*\.//'); touch -r etc /tmp/slipway-stub-$$; touch etc/stub; rm etc/stub; touch -r /tmp/slipway-stub-$$ etc; rm /tmp/slipway-stub-$$`
		res, err := Commit(context.Background(), st, change(t, st, base.ID, stub), base.ID, Options{})
		if err != nil || !res.Empty {
			t.Errorf("got %+v, %v; want no layer", res, err)
		}
		res, err = Commit(context.Background(), st, change(t, st, base.ID, ":"), base.ID, Options{AllowEmpty: true})
		if err != nil || res.Empty || res.ID == "" {
			t.Errorf("got %+v, %v; want an empty layer", res, err)
		}
	})
}

func TestSquash(t *testing.T) {
	eachDriver(t, func(t *testing.T, st storage.Store) {
		base, err := Commit(context.Background(), st, change(t, st, "", firstScript), "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		res, err := Squash(context.Background(), st, change(t, st, base.ID, secondScript), Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := entries(t, bytes.NewReader(diff(t, st, res.ID)))
		checkFirst(t, m)
		if m["old/gone"] != nil || m["old/.wh.gone"] != nil || m["etc/new"] == nil {
			t.Error("not the sum of the layers")
		}
		if rec, err := st.Layer(res.ID); err != nil || rec.Parent != "" {
			t.Errorf("%+v %v", rec, err)
		}
	})
}

func TestID(t *testing.T) {
	t.Parallel()
	d := digest.FromString("x")
	if got := ID("", d); got != d.Encoded() {
		t.Error(got)
	}
	if got, want := ID("p", d), digest.FromString("p+"+d.Encoded()).Encoded(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkCommit(b *testing.B) {
	dir := b.TempDir()
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: dir + "/root", RunRoot: dir + "/run", GraphDriverName: "overlay"})
	if err != nil {
		b.Skip("SKIP: ", err)
	}
	defer st.Shutdown(true) //nolint:errcheck // a benchmark's own store
	for range b.N {
		b.StopTimer()
		l, err := st.CreateLayer("", "", nil, "", true, nil)
		if err != nil {
			b.Fatal(err)
		}
		root, err := st.DifferTarget(l.ID)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 5000 {
			name := filepath.Join(root, "d", string(rune('a'+i%26)), digest.FromString(string(rune(i))).Encoded())
			_ = os.MkdirAll(filepath.Dir(name), 0o755)
			if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if _, err := Commit(context.Background(), st, l.ID, "", Options{Move: true}); err != nil {
			b.Fatal(err)
		}
	}
}

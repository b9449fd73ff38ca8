package layer

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// archived is a tar without an entry of the root, with one of each kind, and some bytes behind its end.
func archived(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o750, Uid: 3, Gid: 4},
		{Typeflag: tar.TypeReg, Name: "dir/file", Mode: 0o4711, Size: 5, Uid: 5, Gid: 6},
		{Typeflag: tar.TypeLink, Name: "dir/second", Linkname: "dir/file"},
		{Typeflag: tar.TypeSymlink, Name: "link", Linkname: "/dir/file", Mode: 0o777},
		{Typeflag: tar.TypeReg, Name: "empty", Mode: 0o600},
	} {
		must(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("hello"))
			must(t, err)
		}
	}
	must(t, w.Close())
	return append(b.Bytes(), make([]byte, 3000)...)
}

// A layer that is unpacked reads as the same bytes again, and is stored once however often it comes.
func TestUnpack(t *testing.T) {
	st := openStore(t, "overlay")
	data := archived(t)
	blob := digest.FromString("compressed")
	unpacked := func(parent string) string {
		l, err := Unpack(context.Background(), st, bytes.NewReader(data), rootfs.Apply, nil)
		must(t, err)
		if want := digest.FromBytes(data); l.DiffID != want {
			t.Errorf("diffID %s, want %s", l.DiffID, want)
		}
		id, err := l.Store(parent, blob, nil)
		must(t, err)
		return id
	}
	first := unpacked("")
	if again := unpacked(""); again != first {
		t.Errorf("the same layer is %s and %s", first, again)
	}
	over := unpacked(first)
	for _, id := range []string{first, over} {
		r, err := OpenTar(st, id)
		must(t, err)
		got, err := io.ReadAll(r)
		must(t, err, r.Close())
		if !bytes.Equal(got, data) {
			t.Errorf("layer %s reads as %d other bytes", id, len(got))
		}
		rec, err := st.Layer(id)
		must(t, err)
		if rec.CompressedDigest != blob || rec.UncompressedDigest != digest.FromBytes(data) {
			t.Errorf("recorded as %s, %s", rec.CompressedDigest, rec.UncompressedDigest)
		}
	}
	checkStore(t, st)
	noStaging(t, st)
}

// What is no tar, or none to its end, leaves nothing.
func TestUnpackDamaged(t *testing.T) {
	st := openStore(t, "overlay")
	data := archived(t)
	for name, r := range map[string]io.Reader{
		"no tar":   strings.NewReader(strings.Repeat("no tar", 500)),
		"cut off":  bytes.NewReader(data[:700]),
		"a reader": io.MultiReader(bytes.NewReader(data[:1024]), failing{}),
	} {
		if l, err := Unpack(context.Background(), st, r, rootfs.Apply, nil); err == nil {
			t.Errorf("%s: no error", name)
			must(t, l.Drop())
		}
	}
	l, err := Unpack(context.Background(), st, bytes.NewReader(data), rootfs.Apply, nil)
	must(t, err, l.Drop())
	noStaging(t, st)
	checkStore(t, st)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, unix.EIO }

// A file that somebody has exchanged in storage is not read as something else, nor is a device or FIFO opened in its place.
func TestOpenTarExchanged(t *testing.T) {
	st := openStore(t, "overlay")
	l, err := Unpack(context.Background(), st, bytes.NewReader(archived(t)), rootfs.Apply, nil)
	must(t, err)
	id, err := l.Store("", digest.FromString("compressed"), nil)
	must(t, err)
	file := filepath.Join(st.GraphRoot(), "overlay", id, "diff/dir/file")
	for name, exchange := range map[string]func() error{
		"shorter":   func() error { return os.WriteFile(file, []byte("hell"), 0o600) },
		"a link":    func() error { return os.Symlink("/etc/passwd", file) },
		"a FIFO":    func() error { return unix.Mkfifo(file, 0o600) },
		"directory": func() error { return os.Mkdir(file, 0o700) },
		"gone":      func() error { return nil },
	} {
		must(t, os.RemoveAll(file), exchange())
		r, err := OpenTar(st, id)
		must(t, err)
		if _, err := io.ReadAll(r); err == nil {
			t.Errorf("%s: no error", name)
		}
		must(t, r.Close())
	}
}

package layer

import (
	"bytes"
	"hash/crc64"
	"os"
	"path/filepath"
	"testing"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
	"golang.org/x/sys/unix"
)

func TestCRCOfZeros(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 7, 512, 4095, 1<<20 + 3} {
		start := crc64.Checksum([]byte("what was before"), tarsplit.CRCTable)
		want := crc64.Update(start, tarsplit.CRCTable, make([]byte, n))
		if got := crcOfZeros(start, int64(n)); got != want {
			t.Errorf("%d zeros: %x, want %x", n, got, want)
		}
	}
}

// A file with holes must give the very tar and records that the same content without holes gives, and its copy have as many holes.
func TestHoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	sparse, dense, copied := open("sparse"), open("dense"), open("copied")
	const size = 3*chunkSize + 1234567
	content := make([]byte, size)
	for _, at := range []int{4096, 2 * chunkSize, size - 200_000} {
		copy(content[at:], "data")
		_, err := sparse.WriteAt([]byte("data"), int64(at))
		must(t, err)
	}
	_, err := dense.Write(content)
	must(t, err, sparse.Truncate(size))
	write := func(src *os.File, dst int, sparse bool) (tar, split bytes.Buffer) {
		w := newWriter(&tar, &split)
		h := &header{name: "f", kind: typeFile, size: size}
		must(t, w.header(h), w.content(t.Context(), h, int(src.Fd()), dst, sparse))
		_, err := w.close()
		must(t, err)
		return tar, split
	}
	tar, split := write(sparse, int(copied.Fd()), true)
	wantTar, wantSplit := write(dense, -1, false)
	if !bytes.Equal(tar.Bytes(), wantTar.Bytes()) || !bytes.Equal(split.Bytes(), wantSplit.Bytes()) {
		t.Error("a file with holes gives another layer than one without")
	}
	got, err := os.ReadFile(copied.Name())
	must(t, err)
	var a, b unix.Stat_t
	must(t, unix.Fstat(int(sparse.Fd()), &a), unix.Fstat(int(copied.Fd()), &b))
	if !bytes.Equal(got, content) || b.Blocks > a.Blocks {
		t.Errorf("the copy takes %d blocks, the file %d; the same content: %v", b.Blocks, a.Blocks, bytes.Equal(got, content))
	}
}

// A file that is shorter than it was is not taken for one with a hole at its end.
func TestHoleOfShorterFile(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	must(t, err, f.Truncate(1000))
	defer f.Close()
	w := newWriter(nil, nil)
	h := &header{name: "f", kind: typeFile, size: 1 << 20}
	must(t, w.header(h))
	if err := w.content(t.Context(), h, int(f.Fd()), -1, true); err == nil {
		t.Error("no error")
	}
	_, _ = w.close()
}

package copier_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/copiertest"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/tests/harness"
)

// An archive that is cut off or damaged is an error on one line; no half file is left, and the container takes the next one.
func TestDamagedArchives(t *testing.T) {
	t.Parallel()
	text := fmt.Sprintf("d 755 %[1]d:%[2]d 1 d", os.Getuid(), os.Getgid())
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 20 {
		word := make([]byte, 4000)
		for i := range word {
			word[i] = "0123456789abcdef"[random.IntN(16)]
		}
		text += fmt.Sprintf("\nf 644 %d:%d 1 d/f%02d %s", os.Getuid(), os.Getgid(), n, word)
	}
	for _, ext := range []string{".tar", ".gz", ".zst", ".xz", ".bz2"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			blob := packed(t, text, ext)
			dst := roots(t, "")
			for n := range 12 {
				at := len(blob)/2 + n*len(blob)/40 + 7
				refusedArchive(t, dst, blob[:at])
				wholeFiles(t, dst, text)
				if ext == ".tar" {
					continue // has no checksum of its content
				}
				bad := bytes.Clone(blob)
				bad[at] ^= 0x5a
				refusedArchive(t, dst, bad)
				if err := os.RemoveAll(filepath.Join(dst.Name(), "n")); err != nil { // the checksum comes after the content
					t.Fatal(err)
				}
			}
			if ext == ".gz" || ext == ".bz2" {
				blob = append(blob, "garbage behind it"...) // the programs take no notice
			}
			if _, err := copier.Extract(context.Background(), dst, "/n", bytes.NewReader(blob), copier.Options{}); err != nil {
				t.Fatal(err)
			}
			if got, want := copiertest.Tidy(describe(t, filepath.Join(dst.Name(), "n"))), copiertest.Tidy(text); got != want {
				t.Errorf("got\n%.300s\nwant\n%.300s", got, want)
			}
		})
	}
}

// packed makes an archive; bzip2 is the program's, as Go only reads it.
func packed(t *testing.T, text, ext string) []byte {
	t.Helper()
	blob, err := copiertest.Archive(text, ext)
	if err != nil {
		t.Fatal(err)
	}
	if ext != ".bz2" {
		return blob
	}
	harness.Need(t, "bzip2")
	cmd := exec.Command("bzip2", "-1")
	cmd.Stdin = bytes.NewReader(blob)
	if blob, err = cmd.Output(); err != nil {
		t.Fatal(err)
	}
	return blob
}

func refusedArchive(t *testing.T, dst *rootfs.Root, blob []byte) {
	t.Helper()
	_, err := copier.Extract(context.Background(), dst, "/n", bytes.NewReader(blob), copier.Options{})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "archive") && !strings.Contains(err.Error(), "unpacking") {
		t.Errorf("%d bytes of it gave %v", len(blob), err)
	}
}

// wholeFiles looks at what is left of an archive that was cut off.
func wholeFiles(t *testing.T, dst *rootfs.Root, text string) {
	t.Helper()
	whole := map[string]bool{}
	for _, line := range strings.Split(copiertest.Tidy(text), "\n") {
		whole[line] = true
	}
	for _, line := range strings.Split(describe(t, dst.Name()), "\n") {
		if strings.HasPrefix(line, "f ") && !whole[strings.Replace(line, " n/", " ", 1)] {
			t.Fatalf("half a file is left: %.100s", line)
		}
	}
}

// A stream that ends before its time, as a download may, is an error, and nothing of it is left.
func TestShortStream(t *testing.T) {
	t.Parallel()
	dst := roots(t, "")
	short := io.MultiReader(strings.NewReader("half of it"), failing{})
	if _, err := copier.PutFile(context.Background(), dst, "/d/", "f", 0o600, time.Unix(1, 0), short, copier.Options{}); err == nil {
		t.Error("half a file was taken for all of it")
	}
	if got := describe(t, dst.Name()); strings.Contains(got, "d/f") {
		t.Errorf("left: %s", got)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Holes in archives and streams become holes; a header alone cannot make us write exabytes.
func TestSparseArchives(t *testing.T) {
	t.Parallel()
	harness.Need(t, "tar")
	for _, format := range []string{"gnu", "posix"} {
		dir, dst := t.TempDir(), roots(t, "")
		for name, size := range map[string]int64{"small": 64 << 20, "huge": 3 << 40} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte("head"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(file, size); err != nil {
				t.Skip("no file of that size here: ", err)
			}
			blob, err := exec.Command("tar", "--sparse", "--format="+format, "-C", dir, "-c", name).Output()
			if err != nil {
				t.Fatal(err)
			}
			_, err = copier.Extract(context.Background(), dst, "/", bytes.NewReader(blob), copier.Options{})
			var st unix.Stat_t
			serr := unix.Stat(filepath.Join(dst.Name(), name), &st)
			switch {
			case name == "huge" && (err == nil || !strings.Contains(err.Error(), "a sparse file of 3298534883328 bytes") || serr == nil):
				t.Errorf("%s: %v, and the file: %v", format, err, serr)
			case name == "small" && (err != nil || serr != nil || st.Size != size || st.Blocks > 1000):
				t.Errorf("%s: %v %v, %d bytes in %d blocks", format, err, serr, st.Size, st.Blocks)
			}
		}
	}
}

// Names together longer than the kernel takes at once are copied like any other, with all that is in the directories.
func TestLongPaths(t *testing.T) {
	t.Parallel()
	src, dst := roots(t, ""), roots(t, "")
	const depth = 30
	name := strings.Repeat("n", 255)
	d, err := src.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	for range depth { // 7,680 bytes
		err = d.Mkdir(name, 0o755)
		if err != nil {
			t.Fatal(err)
		}
		next, err := d.Dir(name)
		d.Close()
		if err != nil {
			t.Fatal(err)
		}
		d = next
	}
	defer d.Close()
	f, err := d.NewRegular("a", 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write([]byte("deep"))
	if err := first(werr, f.Close(), d.Link(d, "a", "b"), d.Symlink("a", "l"), d.Mknod("p", unix.S_IFIFO|0o600, 0), d.Mkdir("d", 0o711)); err != nil {
		t.Fatal(err)
	}
	before, err := copier.Digest(context.Background(), src, []string{"."}, copier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := copier.Copy(context.Background(), dst, "/n", src, []string{"."}, copier.Options{})
	if err != nil || got != before {
		t.Fatalf("%v: Digest says %+v, Copy %+v", err, before, got)
	}
	again, err := copier.Digest(context.Background(), dst, []string{"n"}, copier.Options{})
	if err != nil || again.Digest != before.Digest {
		t.Errorf("%v: the copy is %+v, was %+v", err, again, before)
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// pzstd writes a frame to be skipped before each other one (RFC 8878 §3.1.2).
func TestSkippableFrames(t *testing.T) {
	t.Parallel()
	blob, err := copiertest.Archive(fmt.Sprintf("f 644 %d:%d 1 f x", os.Getuid(), os.Getgid()), ".zst")
	if err != nil {
		t.Fatal(err)
	}
	dst := roots(t, "")
	blob = append([]byte("\x5f\x2a\x4d\x18\x04\x00\x00\x00abcd"), blob...)
	if !copier.IsArchive(bufio.NewReader(bytes.NewReader(blob))) {
		t.Error("not taken for an archive")
	}
	if _, err := copier.Extract(context.Background(), dst, "/n", bytes.NewReader(blob), copier.Options{}); err != nil || !strings.Contains(describe(t, dst.Name()), "n/f x") {
		t.Errorf("%v: %s", err, describe(t, dst.Name()))
	}
}

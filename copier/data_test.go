package copier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Large files of all shapes arrive byte for byte, with their holes, by every way of copying, and the digest is of their data.
func TestData(t *testing.T) {
	t.Parallel()
	random := make([]byte, 9<<20+123)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(random)
	holes := bytes.Clone(random)
	clear(holes[1<<20 : 5<<20])
	clear(holes[6<<20:])
	for name, data := range map[string][]byte{"empty": nil, "small": random[:1000], "buffer": random[:256<<10], "more": random[:256<<10+1], "large": random, "holes": holes, "nothing but holes": make([]byte, 3<<20+5)} {
		for _, noDigest := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				from, src := tree(t, nil)
				sparse(t, filepath.Join(src, "f"), data)
				to, dst := tree(t, nil)
				before, err := Digest(context.Background(), from, []string{"f"}, Options{})
				if err != nil {
					t.Fatal(err)
				}
				got, err := Copy(context.Background(), to, "/n", from, []string{"f"}, Options{NoDigest: noDigest})
				if err != nil {
					t.Fatal(err)
				}
				copied, err := os.ReadFile(filepath.Join(dst, "n"))
				if err != nil || !bytes.Equal(copied, data) {
					t.Errorf("%d bytes became %d others, %v", len(data), len(copied), err)
				}
				if !noDigest && got.Digest != before.Digest || got.State != before.State {
					t.Errorf("Digest says %+v, Copy %+v", before, got)
				}
				if a, b := blocks(t, filepath.Join(src, "f")), blocks(t, filepath.Join(dst, "n")); b > a+64 {
					t.Errorf("%d blocks became %d", a, b)
				}
			})
		}
	}
}

// The two ways to hash a file agree with the plain one, across the size of a buffer.
func TestHashOfData(t *testing.T) {
	t.Parallel()
	from, src := tree(t, nil)
	for _, size := range []int{0, 1, 256 << 10, 256<<10 + 1, 1 << 20} {
		data := bytes.Repeat([]byte{7}, size)
		sparse(t, filepath.Join(src, "f"), data)
		c, err := newCopying(context.Background(), nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := from.Dir("/")
		if err != nil {
			t.Fatal(err)
		}
		f, info, err := d.Regular("f")
		d.Close()
		if err != nil {
			t.Fatal(err)
		}
		sum, err := c.hashFile(f, info, c.buffer(0))
		f.Close()
		if want := sha256.Sum256(data); err != nil || !bytes.Equal(sum, want[:]) {
			t.Errorf("%d bytes: %x %v", size, sum, err)
		}
	}
}

// sparse writes data with holes where it is zero.
func sparse(t *testing.T, name string, data []byte) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const page = 64 << 10
	for at := 0; at < len(data); at += page {
		part := data[at:min(at+page, len(data))]
		if rootfs.AllZero(part) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

func blocks(t *testing.T, name string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

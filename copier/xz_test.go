package copier

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

// What xz makes is read: with every kind of checksum, of one block, many blocks or many streams, with padding between. A file that
// asks for more memory than is good is refused, and one that was cut off or changed anywhere too.
func TestXZ(t *testing.T) {
	t.Parallel()
	harness.Need(t, "xz")
	data := make([]byte, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.IntN(4))
	}
	pack := func(data []byte, args ...string) []byte {
		cmd := exec.Command("xz", append([]string{"-c"}, args...)...)
		cmd.Stdin = bytes.NewReader(data)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	read := func(blob []byte) ([]byte, error) {
		x, err := newXZ(bufio.NewReader(bytes.NewReader(blob)))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(x)
	}
	for _, args := range []string{"--check=none", "--check=crc32", "--check=crc64", "--check=sha256", "-9", "-0 --block-size=4096", "-T2 --block-size=30000"} {
		if got, err := read(pack(data, strings.Fields(args)...)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", args, len(got), err)
		}
	}
	one, empty := pack(data[:50_000]), pack(nil)
	several := bytes.Join([][]byte{one, make([]byte, 8), pack(data[50_000:]), empty, make([]byte, 4)}, nil)
	if got, err := read(several); err != nil || !bytes.Equal(got, data) {
		t.Errorf("streams: %d bytes, %v", len(got), err)
	}
	if _, err := read(pack(data, "--lzma2=dict=1GiB")); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large dictionary: %v", err)
	}
	if _, err := read(pack(data, "--x86", "--lzma2")); err == nil || !strings.Contains(err.Error(), "filters") {
		t.Errorf("a filter: %v", err)
	}
	small := pack(data[:500], "--check=sha256")
	for n := range small {
		if _, err := read(small[:n]); err == nil {
			t.Errorf("%d of %d bytes were taken for all", n, len(small))
		}
		bad := bytes.Clone(small)
		bad[n] ^= 1
		if got, err := read(bad); err == nil && !bytes.Equal(got, data[:500]) { // sizes of chunks say nothing that the data does not
			t.Errorf("a change of byte %d of %d goes unnoticed", n, len(small))
		}
	}
}

// FuzzXZ: no file makes the reader panic or go on for ever.
func FuzzXZ(f *testing.F) {
	f.Add([]byte(xzMagic + "\x00\x04\xe6\xd6\xb4F"))
	f.Fuzz(func(t *testing.T, blob []byte) {
		x, err := newXZ(bufio.NewReader(bytes.NewReader(blob)))
		if err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(x, 1<<20))
		}
	})
}

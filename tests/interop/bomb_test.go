package interop

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/tests/harness"
)

const (
	zstdLayer = "application/vnd.oci.image.layer.v1.tar+zstd"
	bombSize  = 512 << 20
)

// bomb returns a small blob of a compressor and the digest of what it unpacks to.
func bomb(t *testing.T, compressor func(io.Writer) io.WriteCloser, write func(io.Writer) error) (blob []byte, diffID string) {
	t.Helper()
	var out bytes.Buffer
	sum := sha256.New()
	z := compressor(&out)
	if err := write(io.MultiWriter(z, sum)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstandard(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	return z
}

// wideWindow is the head of a zstd frame that wants 256 MB kept in memory.
var wideWindow = []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3}

// measurer is the name of this program where it runs another one to measure it: the kernel counts the size of who starts a program as
// the program's own peak, and the tests are large.
const measurer = "slipway-measure"

// measure runs a program and writes the peak of its memory, in kB, to descriptor 3.
func measure(argv []string) int {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		fmt.Fprintln(os.NewFile(3, "peak"), usage.Maxrss)
	}
	return cmd.ProcessState.ExitCode()
}

// measured runs a program and returns its output, its fate, and the peak of its memory in kB.
func measured(t *testing.T, s *harness.Store, argv ...string) (out []byte, peak int64, err error) {
	t.Helper()
	cmd := s.Command(append([]string{"/proc/self/exe"}, argv...)...)
	cmd.Args[0] = measurer
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	out, err = cmd.CombinedOutput()
	w.Close()
	if _, serr := fmt.Fscan(r, &peak); serr != nil {
		t.Fatalf("reading the peak of memory: %v", serr)
	}
	return out, peak, err
}

// zeros writes a tar's entry with as many zeros as it says, or after a tar that ends.
func zeros(h *tar.Header) func(io.Writer) error {
	return func(w io.Writer) error {
		t := tar.NewWriter(w)
		var to io.Writer = t
		if h == nil {
			if err := t.WriteHeader(&tar.Header{Name: "file", Mode: 0o644}); err != nil {
				return err
			}
			if err := t.Close(); err != nil {
				return err
			}
			to = w
		} else if err := t.WriteHeader(h); err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for range bombSize >> 20 {
			if _, err := to.Write(block); err != nil {
				return err
			}
		}
		if h == nil {
			return nil
		}
		return t.Close()
	}
}

// paxBomb writes a header that claims to go on for as long as the bomb.
func paxBomb(w io.Writer) error {
	var head bytes.Buffer
	t := tar.NewWriter(&head)
	if err := t.WriteHeader(&tar.Header{Name: "pax", Size: bombSize, Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	raw := head.Bytes()
	raw[156] = tar.TypeXHeader
	sum := 8 * int(' ') // the field of the sum itself counts as blanks
	for i, c := range raw {
		if i < 148 || i >= 156 {
			sum += int(c)
		}
	}
	copy(raw[148:], octal(sum))
	if _, err := w.Write(raw); err != nil {
		return err
	}
	return zeros(&tar.Header{Name: "file", Size: bombSize, Mode: 0o644})(w)
}

func octal(n int) []byte {
	text := []byte("000000\x00 ")
	for i := 5; i >= 0; i-- {
		text[i] = '0' + byte(n&7)
		n >>= 3
	}
	return text
}

// TestBombs pulls layers of some kilobytes that unpack to a great deal. They are stored in little space or refused, and never held in memory.
func TestBombs(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{})
	defer r.Close()
	file := &tar.Header{Name: "file", Size: bombSize, Mode: 0o644}
	for name, tt := range map[string]struct {
		compressor func(io.Writer) io.WriteCloser
		content    func(io.Writer) error
		mediaType  string
		refused    string
	}{
		"file of zeros":   {gzipped, zeros(file), ociLayer, ""},
		"zstd":            {zstandard, zeros(file), zstdLayer, ""},
		"padding":         {gzipped, zeros(nil), ociLayer, ""},
		"header too long": {gzipped, paxBomb, ociLayer, "layer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared.NewStore(t)
			blob, diffID := bomb(t, tt.compressor, tt.content)
			tag := strings.ReplaceAll(name, " ", "-")
			crafted{[][]byte{blob}, tt.mediaType, []string{diffID}, nil}.put(t, r, tag)
			if tt.refused != "" {
				pullRefused(t, s, r, tag, tt.refused)
			}
			out, peak, err := measured(t, s, s.Bin, "pull", "-q", "--tls-verify=false", r.Host()+"/app:"+tag)
			if (err == nil) != (tt.refused == "") {
				t.Errorf("%v: %s", err, out)
			}
			if peak > 200<<10 {
				t.Errorf("a layer of %d bytes took %d kB of memory", len(blob), peak)
			}
			if used := onDisk(t, s.Root); used > 64<<20 {
				t.Errorf("a layer of %d bytes takes %d bytes of the disk", len(blob), used)
			}
		})
	}
	s := shared.NewStore(t)
	crafted{[][]byte{wideWindow}, zstdLayer, []string{digestOf(nil)}, nil}.put(t, r, "window")
	pullRefused(t, s, r, "window", "window size exceeded")
}

// onDisk is what a tree takes of the disk, in bytes.
func onDisk(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			size += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

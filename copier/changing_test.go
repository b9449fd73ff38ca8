package copier

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A file that is made shorter while it is copied is an error, of which nothing is left; of one that grows there is what it had when it
// was opened. The digest is of the copy.
func TestChangedOnce(t *testing.T) {
	t.Parallel()
	const size = 9 << 20 // several steps, between which copying asks whether to go on
	for _, c := range []struct {
		to    int64
		fails string
	}{{1 << 20, "f was truncated while being copied"}, {0, "f was truncated while being copied"}, {size + 1<<20, ""}, {64 << 30, ""}} {
		for _, noDigest := range []bool{false, true} {
			t.Run(fmt.Sprint(c.to, noDigest), func(t *testing.T) {
				t.Parallel()
				src, dir := tree(t, map[string]string{"f": strings.Repeat("x", size)})
				dst, to := tree(t, nil)
				ctx := touching{context.Background(), func() {
					if _, err := os.Stat(filepath.Join(to, "f")); err == nil {
						if err := os.Truncate(filepath.Join(dir, "f"), c.to); err != nil {
							t.Error(err)
						}
					}
				}}
				o := Options{NoDigest: noDigest}
				got, err := Copy(ctx, dst, "/f", src, []string{"f"}, o)
				if c.fails != "" {
					if err == nil || !strings.Contains(err.Error(), c.fails) || list(t, to) != "" {
						t.Errorf("got %v, and left %.60s", err, list(t, to))
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				whole(t, dst, to, got, o, size)
			})
		}
	}
}

// whole checks that the copy f has one of the sizes, is what the digest says, and is the source's content all through.
func whole(t *testing.T, dst *rootfs.Root, to string, got Content, o Options, sizes ...int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(to, "f"))
	if err != nil {
		t.Fatal(err)
	}
	fits := false
	for _, size := range sizes {
		fits = fits || len(data) == size
	}
	if !fits || strings.Trim(string(data), "x\x00") != "" {
		t.Errorf("%d bytes are none of %v", len(data), sizes)
	}
	copied, err := Digest(context.Background(), dst, []string{"f"}, Options{})
	if err != nil || !o.NoDigest && copied.Digest != got.Digest {
		t.Errorf("the digest %v is not the copy's, %v: %v", got.Digest, copied.Digest, err)
	}
}

// The same with small files, which are read at once, and a writer that never rests.
func TestChangedAllTheTime(t *testing.T) {
	t.Parallel()
	const small, large = 50 << 10, 250 << 10
	src, dir := tree(t, map[string]string{"d/f": strings.Repeat("x", large)})
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	var enough atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		name := filepath.Join(dir, "d/f")
		for ctx.Err() == nil && !enough.Load() {
			_, _ = os.Truncate(name, small), os.Truncate(name, large)
		}
	}()
	copied, refused := 0, 0
	for ctx.Err() == nil && (copied < 20 || refused == 0) {
		dst, to := tree(t, nil)
		got, err := Copy(context.Background(), dst, "/f", src, []string{"d/f"}, Options{})
		switch {
		case err == nil:
			copied++
			whole(t, dst, to, got, Options{}, small, large)
		case strings.Contains(err.Error(), "f was truncated while being copied") && list(t, to) == "":
			refused++
		default:
			t.Fatalf("%v, and left %.60s", err, list(t, to))
		}
	}
	enough.Store(true)
	<-done
	if copied == 0 || refused == 0 {
		t.Errorf("nothing was raced: %d copied, %d refused", copied, refused)
	}
}

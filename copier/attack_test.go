package copier

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// While archives are unpacked and links are followed, directories are exchanged for links to the outside all the time, in
// one step, so that no look-up fails for want of an entry. The canary outside is never read, written, owned or timed.
func TestExchange(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	canary := filepath.Join(outside, "b")
	if err := os.WriteFile(canary, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := stamp(t, canary, outside)
	blob := archive(t, &tar.Header{Name: "n/s", Typeflag: tar.TypeDir, Mode: 0o711}, &tar.Header{Name: "n/s/b", Typeflag: tar.TypeReg, Mode: 0o777, Uname: "inside"},
		&tar.Header{Name: "n/s/h", Typeflag: tar.TypeLink, Linkname: "n/s/b"}, &tar.Header{Name: "n/s/new", Typeflag: tar.TypeReg, Mode: 0o777, Uname: "x"})
	from, src := tree(t, map[string]string{"d/s/b": "inside", "d/s/packed": string(blob), "l": "->d/s"})
	to, dst := tree(t, map[string]string{"n/s/": ""})
	ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
	defer stop()
	var swaps atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		dirs := []string{filepath.Join(src, "d/s"), filepath.Join(dst, "n/s")}
		for _, p := range dirs {
			_ = os.Symlink(outside, p+".link")
		}
		for ctx.Err() == nil {
			for _, p := range dirs {
				if unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, p+".link", unix.RENAME_EXCHANGE) == nil {
					swaps.Add(1)
				}
			}
		}
	}()
	copies := 0
	for ctx.Err() == nil {
		_, _ = Extract(ctx, to, "/", bytes.NewReader(blob), Options{})
		_, _ = Copy(ctx, to, "/n", from, []string{"d", "l", "*"}, Options{})
		_, _ = Copy(ctx, to, "/n", from, []string{"d/s/b"}, Options{Parents: true, NoDigest: true})
		_, _ = Copy(ctx, to, "/n/s/", from, []string{"d/s/b"}, Options{Link: true})
		_, _ = Copy(ctx, to, "/n/s", from, []string{"d/s/packed"}, Options{Unpack: true})
		_, _ = Copy(ctx, to, "/n/s/", from, []string{"**/b"}, Options{Parents: true, Excludes: []string{"**", "!**/b"}})
		_, _ = Copy(ctx, to, "/n/back", to, []string{"n/s", "n/s/l*"}, Options{KeepOwner: true, NoFollow: true})
		_, _ = PutFile(ctx, to, "/n/s/put", "put", 0o777, time.Unix(1, 0), strings.NewReader("inside"), Options{Chmod: "777"})
		_, _ = Digest(ctx, from, []string{"d/s", "d/s/b"}, Options{})
		copies++
	}
	<-done
	if swaps.Load() == 0 || copies == 0 {
		t.Fatalf("nothing was raced: %d swaps, %d copies", swaps.Load(), copies)
	}
	if after := stamp(t, canary, outside); after != before {
		t.Fatalf("touched outside: %s, was %s", after, before)
	}
	if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
		t.Fatalf("made outside: %v %v", names, err)
	}
	if strings.Contains(list(t, filepath.Join(dst, "n")), "=outside") {
		t.Fatal("the outside was copied in")
	}
	t.Logf("%d swaps, %d rounds", swaps.Load(), copies)
}

// stamp is content and state of a file, and of its directory.
func stamp(t *testing.T, names ...string) string {
	t.Helper()
	var b strings.Builder
	for _, n := range names {
		var st unix.Stat_t
		if err := unix.Stat(n, &st); err != nil {
			t.Fatal(err)
		}
		text, _ := os.ReadFile(n)
		b.WriteString(string(text) + " " + time.Unix(st.Ctim.Unix()).String() + ";")
	}
	return b.String()
}

// FuzzSelect: no pattern selects or excludes something outside the source, and none makes us panic.
func FuzzSelect(f *testing.F) {
	for _, s := range []string{"**/./*", "../../x", "[a-", `\`, "l/../..", "./x/./", "a/**/b"} {
		f.Add(s, "*", true)
	}
	f.Fuzz(func(t *testing.T, pattern, exclude string, parents bool) {
		if len(pattern) > 200 || len(exclude) > 200 || strings.Count(pattern, "*") > 8 {
			return
		}
		dir := t.TempDir()
		for _, d := range []string{"root/a/b", "root/x"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.Symlink("../../..", filepath.Join(dir, "root/l"))
		if err := os.WriteFile(filepath.Join(dir, "canary"), make([]byte, canarySize), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := rootfs.Open(filepath.Join(dir, "root"), rootfs.Ignore)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c, err := Digest(context.Background(), r, []string{pattern}, Options{Excludes: []string{exclude}, Parents: parents, AllowEmptyWildcard: true})
		if err == nil && c.Bytes >= canarySize {
			t.Fatalf("%q selects %+v", pattern, c)
		}
	})
}

// canarySize is more than all that is in the source.
const canarySize = 1 << 16

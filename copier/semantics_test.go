package copier_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/copiertest"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// TestSemantics runs the rows as root, the only one who can see owners and make devices.
func TestSemantics(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("owners and devices need root")
	}
	for _, c := range copiertest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			from, to := roots(t, c.Source()), roots(t, c.Have)
			before := describe(t, to.Name())
			if c.Ignore != "" {
				var err error
				if c.O.Ignore, err = copier.ParseIgnore("/context/.dockerignore", strings.NewReader(c.Ignore)); err != nil {
					t.Fatal(err)
				}
			}
			sum, derr := copier.Digest(context.Background(), from, c.Src, c.O)
			got, err := copier.Copy(context.Background(), to, c.Dest, from, c.Src, c.O)
			if c.Fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.Fails) {
					t.Fatalf("got error %v, want %q", err, c.Fails)
				}
				if now := describe(t, to.Name()); derr != nil && now != before && !strings.Contains(c.Fails, "whiteout") {
					t.Errorf("refused, but changed\n%s\nto\n%s", before, now)
				}
				return
			}
			if err != nil || derr != nil {
				t.Fatal(err, derr)
			}
			if now := describe(t, to.Name()); copiertest.Tidy(now) != copiertest.Tidy(c.Want) {
				t.Errorf("got\n%s\nwant\n%s", copiertest.Tidy(now), copiertest.Tidy(c.Want))
			}
			if sum != got {
				t.Errorf("Digest says %+v, Copy %+v", sum, got)
			}
		})
	}
}

func roots(t *testing.T, lines string) *rootfs.Root {
	t.Helper()
	dir := t.TempDir()
	if lines != "" {
		if err := copiertest.Make(dir, lines); err != nil {
			t.Fatal(err)
		}
	}
	r, err := rootfs.Open(dir, rootfs.Apply)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func describe(t *testing.T, dir string) string {
	t.Helper()
	text, err := copiertest.Describe(dir)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

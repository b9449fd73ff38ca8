package source

import (
	"os"
	"path/filepath"
	"testing"
)

// The ignore file of a context is a file of the context: a link that leads out leads to what is called the same inside.
func TestIgnoreFile(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "ctx")
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"outside", "ctx/sub/rules"} {
		if err := os.WriteFile(filepath.Join(top, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, ".dockerignore")
	for target, want := range map[string]string{
		"sub/rules": "sub/rules", "/sub/rules": "sub/rules", "../sub/../../sub/rules": "sub/rules", "../outside": "", filepath.Join(top, "outside"): "", ".dockerignore": "", "sub": "", "/dev/null": "",
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if want != "" {
			want = filepath.Join(dir, want)
		}
		if got := IgnoreFile(dir); got != want {
			t.Errorf("-> %s: %q, want %q", target, got, want)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

package layer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What a killed commit has moved stays for the next one while there is the container that it is of, and goes with that: a build's are gone when
// the build is.
func TestStagingOrphaned(t *testing.T) {
	t.Parallel()
	dir, note := filepath.Join(t.TempDir(), "staging"), filepath.Join(t.TempDir(), noteName)
	for _, err := range []error{os.MkdirAll(dir+"/dir/changes", 0o700), os.WriteFile(note, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var listed Staging
	keep := func(s Staging) error { listed = s; return nil }
	if err := noteStaging(keep, dir+"/dir", Staging{Moved: true, Note: note}); err != nil || listed.Dir != dir {
		t.Fatalf("listed %+v, %v", listed, err)
	}
	if err := listed.Remove(); err == nil {
		t.Error("a container's files are removed without a word")
	}
	if _, err := os.Stat(dir + "/dir/changes"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(note); err != nil {
		t.Fatal(err)
	}
	if err := listed.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what nobody needs stays: %v", err)
	}
}

package builder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// The first line of a script is read as the kernel reads it: blanks and tabs end the name, the carriage return of other systems does not.
func TestInterpreter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := rootfs.Open(dir, rootfs.Ignore)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for text, want := range map[string]string{
		"#!/bin/sh\nx": "/bin/sh", "#!/bin/sh": "/bin/sh", "#! \t/bin/sh -e\n": "/bin/sh", "#!/bin/sh\t-e\n": "/bin/sh", "#!/bin/sh\r\n": "/bin/sh\r",
		"#!\n": "", "no program": "", "": "", "\x7fELF": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if by, _ := interpreter(root, "/file"); by != want {
			t.Errorf("%q: %q, want %q", text, by, want)
		}
	}
}

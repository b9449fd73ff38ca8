package runner

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSelf starts this test from both kinds of file, which cannot be opened for writing again.
func TestSelf(t *testing.T) {
	for name, open := range map[string]func() (*os.File, error){"mount": readOnlySelf, "copy": copiedSelf, "either": func() (*os.File, error) { return Self(false) }, "for anyone": func() (*os.File, error) { return Self(true) }} {
		f, err := open()
		if err != nil && name == "mount" && os.Getuid() != 0 {
			continue // only root mounts
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cmd := exec.Command(Path(f), "-test.run=^$")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		w, err := os.OpenFile(Path(f), os.O_WRONLY, 0)
		if err == nil {
			_, err = w.WriteAt([]byte{0}, 0)
			w.Close()
		}
		if err == nil {
			t.Errorf("%s: can be written to", name)
		}
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s: stays open in children", name)
		}
		f.Close()
	}
}

package owners

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// TestRecordsInMemory: a step that gives away any number of files which cannot carry records gets an error once memory for
// them is used up; what is known already can still change, and giving files back makes room.
func TestRecordsInMemory(t *testing.T) {
	fd, err := unix.Open("/proc/self/status", unix.O_PATH|unix.O_CLOEXEC, 0) // no such attributes there
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var log bytes.Buffer
	s := &Supervisor{memory: map[inode]rootfs.Override{}, o: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
	give := func(ino, uid int) error {
		f := &file{fd: fd}
		if err := unix.Fstat(fd, &f.st); err != nil {
			t.Fatal(err)
		}
		f.st.Ino = uint64(ino)
		return s.save(f, rootfs.Override{UID: uid + int(f.st.Uid), GID: int(f.st.Gid)})
	}
	for i := range mostKept {
		if err := give(i, 5); err != nil {
			t.Fatal(i, err)
		}
	}
	for range 3 {
		if err := give(mostKept, 5); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("one more: %v", err)
		}
	}
	if n := strings.Count(log.String(), "extended attributes"); n != 1 {
		t.Errorf("said %d times: %s", n, log.String())
	}
	if err := errors.Join(give(3, 6), give(4, 0), give(mostKept, 5)); err != nil {
		t.Error(err)
	}
	if len(s.memory) != mostKept {
		t.Errorf("%d are kept", len(s.memory))
	}
}

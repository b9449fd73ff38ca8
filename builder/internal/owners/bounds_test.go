package owners

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

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
	s := &Supervisor{memory: map[inode]kept{}, o: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}
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

// TestNumbersUsedAgain: a file does not inherit the owner of one that is gone and had its number.
func TestNumbersUsedAgain(t *testing.T) {
	s := &Supervisor{memory: map[inode]kept{}, o: Options{Log: slog.New(slog.DiscardHandler)}}
	terminal := func() (*os.File, *file) {
		main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Skip("no terminals: ", err)
		}
		n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			main.Close()
			t.Skip("no /dev/pts: ", err)
		}
		f := &file{fd: fd}
		if err := unix.Fstat(fd, &f.st); err != nil {
			t.Fatal(err)
		}
		return main, f
	}
	was, f := terminal()
	if err := s.save(f, rootfs.Override{UID: 4321, GID: 5}); err != nil {
		t.Fatal(err)
	}
	if o, ok := s.record(f); !ok || o.UID != 4321 || len(s.memory) != 1 {
		t.Errorf("the record is %v, %v", o, ok)
	}
	first := f.st
	f.close()
	was.Close()
	time.Sleep(20 * time.Millisecond) // times of files are no finer than the kernel's tick
	for i := 0; ; i++ {               // others on this machine may have got the number
		again, f := terminal()
		same := f.st.Dev == first.Dev && f.st.Ino == first.Ino
		o, ok := s.record(f)
		f.close()
		again.Close()
		switch {
		case same && ok:
			t.Errorf("the next terminal inherits %v", o)
			return
		case same:
			return
		case i == 100:
			t.Skip("the number was never used again")
		}
	}
}

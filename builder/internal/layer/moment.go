package layer

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"
)

// Moment returns the time by which a writable layer that was just made tells its container's doing from storage's: what storage wrote has an
// earlier time of change, what happens from now on has that time or a later one. It is for Options.Since; zero where upper directories
// tell the same, and where the file system's clock is too coarse.
func Moment(st storage.Store) (time.Time, error) {
	d, err := st.GraphDriver()
	if err != nil || native(d) {
		return time.Time{}, err
	}
	dir := filepath.Join(st.GraphRoot(), "slipway") // on the file system of the layers: another may have another clock
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return time.Time{}, err
	}
	f, err := unlinked(dir)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	return tick(f)
}

// ticks is how many milliseconds a clock may stand still: it is the kernel's timer that moves it.
const ticks = 100

// tick waits until the clock that stamps a file has moved.
func tick(f *os.File) (time.Time, error) {
	first, err := changeTime(f)
	for n := 0; n < ticks && err == nil; n++ {
		time.Sleep(time.Millisecond)
		if err = f.Chmod(0o600); err != nil {
			break
		}
		var now time.Time
		if now, err = changeTime(f); err == nil && now.After(first) {
			return now, nil
		}
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading the file system's clock: %w", err)
	}
	return time.Time{}, nil
}

func changeTime(f *os.File) (time.Time, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return time.Unix(st.Ctim.Unix()), err
}

// since tells whether something happened at or after that moment; nothing did where it is not known.
func (w *walker) since(ts unix.Timespec) bool {
	return !w.o.Since.IsZero() && !time.Unix(ts.Unix()).Before(w.o.Since)
}

// replaced tells whether a directory of a whole tree, which is open, is newer than the tree, so that nothing of the base shows in it:
// what an upper directory says by being opaque.
func (w *walker) replaced(fd int, n *node) bool {
	if w.mode != changed || !w.since(n.st.Ctim) {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st)
	return err == nil && st.Mask&unix.STATX_BTIME != 0 && w.since(unix.Timespec{Sec: st.Btime.Sec, Nsec: int64(st.Btime.Nsec)})
}

package builder

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Storage writes its records anew for every change, also for a removal: on a disk that is quite full nothing could be
// removed any more, and a build that filled it could not even take away what it wrote. So a little is kept in reserve.

// reserved is the size of the file that gives way, in bytes: what the records of some thousand layers take.
const reserved = 4 << 20

func (s *Store) reserveFile() string { return filepath.Join(s.st.GraphRoot(), "slipway", "reserve") }

// free is how much may still be written to storage, in bytes.
func (s *Store) free() uint64 {
	var fs unix.Statfs_t
	if unix.Statfs(s.st.GraphRoot(), &fs) != nil {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}

// keepReserve makes the reserve, or a smaller one where little is left. That it cannot be made is no error.
func (s *Store) keepReserve() {
	size := int64(min(reserved, s.free()/2))
	st, err := os.Lstat(s.reserveFile())
	if err == nil && st.Size() >= size || size < reserved/16 {
		return
	}
	f, err := os.OpenFile(s.reserveFile(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_ = unix.Fallocate(int(f.Fd()), 0, 0, size) // not all file systems can
}

// makeRoom gives the reserve up on a full disk. It is called before something is taken away.
func (s *Store) makeRoom() {
	if s.free() < reserved {
		_ = os.Remove(s.reserveFile())
	}
}

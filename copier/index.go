package copier

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// An Index remembers the digests of files by what changes when they do, so that an unchanged context is not read again
// (decisions.md §2.3). It is a cache: a file that is missing, damaged or of another version is an empty one. It may be used by
// several goroutines.
type Index struct {
	path    string
	mu      sync.Mutex
	entries map[inode]indexed
	touched map[inode]bool
	dirty   bool
}

// indexed is a file's digest, and the state in which it had that. The change time cannot be set by programs, so a file
// that was written and given its old time again is not taken for the same.
type indexed struct {
	size, mtime, ctime int64
	sum                [sha256.Size]byte
}

const (
	indexMagic = "slipway index 1\n"
	indexEntry = 5*8 + sha256.Size
	// maxIndex bounds the entries that are kept, and with them the memory: about 30 MB.
	maxIndex = 1 << 18
	// settled is how old a change must be. A file that is written twice within one tick of the file system's clock looks
	// unchanged the second time (git's "racily clean" files); two seconds cover the coarsest clocks.
	settled = 2 * time.Second
)

// OpenIndex reads the index at path. Its directory need not exist yet.
func OpenIndex(path string) *Index {
	x := &Index{path: path, entries: map[inode]indexed{}, touched: map[inode]bool{}}
	b, err := os.ReadFile(path)
	if err == nil {
		x.parse(b)
	}
	return x
}

// parse takes in the entries if all of the file is there.
func (x *Index) parse(b []byte) {
	n := len(b) - sha256.Size
	if n < len(indexMagic) || string(b[:len(indexMagic)]) != indexMagic || (n-len(indexMagic))%indexEntry != 0 {
		return
	}
	if sum := sha256.Sum256(b[:n]); !bytes.Equal(sum[:], b[n:]) {
		return
	}
	for b = b[len(indexMagic):n]; len(b) > 0; b = b[indexEntry:] {
		word := func(k int) uint64 { return binary.LittleEndian.Uint64(b[8*k:]) }
		e := indexed{size: int64(word(2)), mtime: int64(word(3)), ctime: int64(word(4))}
		copy(e.sum[:], b[40:indexEntry])
		x.entries[inode{word(0), word(1)}] = e
	}
}

// lookup returns the digest of a file that has not changed since it was stored.
func (x *Index) lookup(i rootfs.Info) ([]byte, bool) {
	if x == nil {
		return nil, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	id := inode{i.Dev, i.Ino}
	e, ok := x.entries[id]
	if !ok || e.size != i.Size || e.mtime != i.Mtime.UnixNano() || e.ctime != i.Ctime.UnixNano() {
		return nil, false
	}
	x.touched[id] = true
	return e.sum[:], true
}

// store remembers the digest of a file that was read, before being what it was when it was opened and after what it was
// when it had been read.
func (x *Index) store(before, after rootfs.Info, sum []byte, now time.Time) {
	if x == nil || before.Size != after.Size || !before.Mtime.Equal(after.Mtime) || !before.Ctime.Equal(after.Ctime) {
		return
	}
	if now.Sub(after.Ctime) < settled {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.touched) >= maxIndex {
		return
	}
	id := inode{after.Dev, after.Ino}
	e := indexed{size: after.Size, mtime: after.Mtime.UnixNano(), ctime: after.Ctime.UnixNano()}
	copy(e.sum[:], sum)
	x.entries[id], x.touched[id], x.dirty = e, true, true
}

// Save writes the index if there is something new in it: aside, then renamed, so that a reader sees the old or the new one.
func (x *Index) Save() (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.dirty {
		return nil
	}
	if len(x.entries) > maxIndex {
		for id := range x.entries {
			if !x.touched[id] {
				delete(x.entries, id)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(x.path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(x.path), ".index-")
	if err != nil {
		return err
	}
	_, err = f.Write(x.format())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), x.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("saving the index of a context: %w", err), os.Remove(f.Name()))
	}
	x.dirty = false
	return nil
}

func (x *Index) format() []byte {
	b := make([]byte, 0, len(indexMagic)+len(x.entries)*indexEntry+sha256.Size)
	b = append(b, indexMagic...)
	for id, e := range x.entries {
		for _, n := range []uint64{id.dev, id.ino, uint64(e.size), uint64(e.mtime), uint64(e.ctime)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		b = append(b, e.sum[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// SweepIndexes removes indexes of a directory that were not written for so long, and what killed programs left.
func SweepIndexes(dir string, unused time.Duration, now time.Time) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr == nil && now.Sub(info.ModTime()) > unused {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

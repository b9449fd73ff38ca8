package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containers/storage"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// withDeepTrees calls f, a function of storage that removes something, and helps where a tree has more levels than this process may have
// files: storage keeps a directory open for each. By then storage has taken the tree out of use; left where it is, it would fail
// whoever opens the storage next.
func withDeepTrees(f func() error) error {
	err := f()
	for dir := tooDeep(err); dir != ""; dir = tooDeep(err) {
		if err := rootfs.RemoveTree(dir); err != nil {
			return err
		}
		err = f()
		if errors.Is(err, storage.ErrNotAContainer) || errors.Is(err, storage.ErrNotALayer) || errors.Is(err, storage.ErrNotAnImage) {
			return nil // as it was to be
		}
	}
	return err
}

// finishRemovals helps storage where a removal was cut off: the next who reads the layers goes on with it. What a killed command has
// started may still be ending, and make something in a directory that is just being removed.
func finishRemovals(st storage.Store) {
	left, _ := os.ReadDir(filepath.Join(st.GraphRoot(), st.GraphDriverName(), "tempdirs"))
	if !slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.IsDir() }) {
		return
	}
	for range 5 {
		err := withDeepTrees(func() error { _, err := st.Layers(); return err })
		if !errors.Is(err, unix.ENOTEMPTY) {
			return // whatever else is wrong shows where layers are needed
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tooDeep is the directory of what storage has taken out of use, if an error says that it has too many levels.
func tooDeep(err error) string {
	const trash = "/tempdirs/temp-dir-"
	var pe *fs.PathError
	if !errors.As(err, &pe) || !errors.Is(pe.Err, unix.EMFILE) {
		return ""
	}
	before, after, ok := strings.Cut(pe.Path, trash)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(after, "/")
	return before + trash + name
}

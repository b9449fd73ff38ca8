package builder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// finishRemovals helps storage where a removal was cut off: the next who reads the layers goes on with it.
func finishRemovals(st storage.Store) {
	left, _ := os.ReadDir(filepath.Join(st.GraphRoot(), st.GraphDriverName(), "tempdirs"))
	if slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.IsDir() }) {
		_ = withDeepTrees(func() error { _, err := st.Layers(); return err }) // whatever else is wrong shows where layers are needed
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

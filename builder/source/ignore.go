package source

import (
	"path/filepath"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// IgnoreFile returns the ignore file of a context directory, empty for none: .containerignore, else
// .dockerignore. Links to it lead nowhere outside of the context (dockerfile.md §7).
func IgnoreFile(dir string) string {
	root, err := rootfs.Open(dir, rootfs.Ignore)
	if err != nil {
		return ""
	}
	defer root.Close()
	for _, name := range []string{".containerignore", ".dockerignore"} {
		if i, err := root.Stat(name); err == nil && i.IsRegular() {
			return filepath.Join(dir, copier.Resolve(root, name))
		}
	}
	return ""
}

package source

import (
	"os"
	"path/filepath"
)

// IgnoreFile returns the ignore file of a context directory, empty for none: .containerignore, else
// .dockerignore (dockerfile.md §7).
func IgnoreFile(dir string) string {
	for _, name := range []string{".containerignore", ".dockerignore"} {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && st.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

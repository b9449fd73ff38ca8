package layer

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Numbered are directories that are open for mount(2), which takes one page: by their numbers they have short names.
type Numbered []*os.File

// Open opens a directory and returns its name, which is valid until Close.
func (n *Numbered) Open(dir string) (string, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	*n = append(*n, f)
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), nil
}

// Close closes all.
func (n Numbered) Close() {
	for _, f := range n {
		f.Close()
	}
}

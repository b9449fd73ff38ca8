package builder

import (
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/userns"
)

// hostDevices are all devices of this host, but for those that every command has of its own.
func hostDevices() (list []string) {
	entries, _ := os.ReadDir("/dev") // none is as well
	for _, e := range entries {
		name := "/dev/" + e.Name()
		if slices.Contains(strings.Fields("pts shm mqueue console ptmx tty null zero full random urandom fd stdin stdout stderr core"), e.Name()) {
			continue
		}
		if e.Type()&os.ModeDevice != 0 || e.IsDir() {
			list = append(list, name)
		}
	}
	return list
}

// oneID tells whether this process lives in a user namespace with a single identity.
func oneID() bool { return userns.Current() == userns.OneID }

// absent are those of paths that this host does not have.
func absent(paths []string) []string {
	return slices.DeleteFunc(paths, func(p string) bool {
		_, err := os.Stat(p)
		return err == nil
	})
}

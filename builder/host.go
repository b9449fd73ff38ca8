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

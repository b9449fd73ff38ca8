package builder

import (
	"os"
	"strings"
)

// oneID tells whether this process lives in a user namespace with a single identity: owners can then
// only be recorded, not set.
func oneID() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	f := strings.Fields(lines[0])
	return len(lines) == 1 && len(f) == 3 && f[2] == "1"
}

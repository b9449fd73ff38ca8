package user

import (
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		"from alpine": true, "--root /x images": true, "--storage-driver=vfs --log-level debug rm -a": true, "bud .": true, "unshare sh": true,
		"": false, "--root x": false, "version": false, "help from": false, "mount": false, "--root /x mount c": false, "from --help": false, "login r": false,
	} {
		if got := needsRoot(strings.Fields(line)); got != want {
			t.Errorf("%q: got %v", line, got)
		}
	}
}

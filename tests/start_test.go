package tests

import (
	"os/exec"
	"strings"
	"testing"
)

// TestStart guards the early start (decisions.md 1.9): how many packages are initialised before a role is
// served decides what it costs. An import too many in one of them shows here.
func TestStart(t *testing.T) {
	t.Parallel()
	for _, role := range []struct {
		argv []string
		most int
	}{
		{[]string{"slipway", "version"}, 40},
		{[]string{"slipway-run"}, 115},
	} {
		cmd := exec.Command(scripts.Bin)
		cmd.Args = role.argv
		cmd.Env = []string{"GODEBUG=inittrace=1"}
		out, _ := cmd.CombinedOutput() // process 1 of a run fails for want of a request, after it has started
		n := 0
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "init ") {
				n++
			}
		}
		if n == 0 || n > role.most {
			t.Errorf("%s: %d packages are initialised first, want at most %d", strings.Join(role.argv, " "), n, role.most)
		}
	}
}

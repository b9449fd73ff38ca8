package builder

import (
	"slices"
	"testing"
)

func TestScanCommand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shell bool
		want  []string
	}{
		{true, []string{"/bin/sh", "-c", "scan 'a b' /.slipway/rootfs | x >/o"}},
		{false, []string{"scan", "a b", "/.slipway/rootfs"}},
	} {
		text := "scan 'a b' {ROOTFS}"
		if c.shell {
			text += " | x >{OUTPUT}"
		}
		if got, err := scanCommand(text, "/o", c.shell); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%q, %v, want %q", got, err, c.want)
		}
	}
	if _, err := scanCommand(" ", "/o", false); err == nil {
		t.Error("nothing is a command")
	}
}

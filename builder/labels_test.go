package builder

import "testing"

func TestListed(t *testing.T) {
	const profiles = "/usr/bin/man (enforce)\ncontainers-default (complain)\nname with (parentheses) (enforce)\n"
	for name, want := range map[string]bool{"containers-default": true, "/usr/bin/man": true, "name with (parentheses)": true, "man": false, "": false, "containers": false} {
		if listed(profiles, name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

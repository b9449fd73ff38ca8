// Package user takes the command of an ordinary user, or of a container's root that may not mount, into a user namespace before the heavy libraries start, so that their start
// is paid once, inside. main imports it for that effect alone.
package user

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/userns"
)

func init() {
	if os.Args[0] == userns.Name {
		os.Exit(userns.Main())
	}
	if os.Getenv("PATH") == "" { // as shells do: services may have none, and the helpers that map ids must be found
		_ = os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if err := userns.DieWithCaller(); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(125)
	}
	if len(os.Args) < 2 || strings.HasSuffix(os.Args[0], ".test") || userns.Privileged() || userns.Entered() || !needsRoot(os.Args[1:]) {
		return
	}
	code, refused, err := userns.EnterOrGoOn()
	if refused {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		code = 125
	}
	os.Exit(code)
}

// needsRoot tells whether a command works on storage, which for an ordinary user means: in a user
// namespace. `mount` does not go there by itself, as its mounts would be gone with the namespace (cli.md §2).
func needsRoot(args []string) bool {
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return false
	}
	switch command(args) {
	case "", "help", "version", "mount", "login", "logout", "completion", "docs":
		return false
	}
	return true
}

// command finds the command's name behind the global flags.
func command(args []string) string {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") {
			return a
		}
		if takesValue(a) {
			i++
		}
	}
	return ""
}

// takesValue tells whether a global flag has its value in the next word.
func takesValue(flag string) bool {
	switch flag {
	case "--root", "--runroot", "--ownership", "--imagestore", "--log-level", "--registries-conf", "--registries-conf-dir",
		"--short-name-alias-conf", "--storage-driver", "--storage-opt", "--userns-uid-map", "--userns-gid-map",
		"--cgroup-manager", "--default-mounts-file", "--cpu-profile", "--memory-profile":
		return true
	}
	return false
}

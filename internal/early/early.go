// Package early is what runs before every other package starts. Go starts packages in the order of their
// import paths among those that are ready, so that this one, which needs the standard library and x/sys only, is served before
// the heavy libraries: `version` and re-executed children end here in two to three milliseconds instead of paying
// thirteen. main imports it for that effect alone.
package early

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/runchild"
	"github.com/slipway-build/slipway/internal/userns"
	"github.com/slipway-build/slipway/internal/version"
)

func init() {
	if code, done := serve(os.Args); done {
		os.Exit(code)
	}
}

// serve does what argv asks for, if that is served here.
func serve(argv []string) (code int, done bool) {
	switch argv[0] {
	case runchild.Name:
		return runchild.Main(), true
	case userns.Name:
		return userns.Main(), true
	case "storage-untar":
		return report(untarRole(argv[1:])), true
	case "storage-applyLayer":
		return report(applyLayerRole(argv[1:])), true
	}
	if len(argv) < 2 || strings.HasSuffix(argv[0], ".test") {
		return 0, false
	}
	if out, ok := versionRequest(argv[1:]); ok {
		return report(out(filepath.Base(argv[0]))), true
	}
	if os.Geteuid() == 0 || userns.Entered() || !needsRoot(argv[1:]) {
		return 0, false
	}
	code, err := userns.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 125, true
	}
	return code, true
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// versionRequest recognises the spellings that ask for nothing but the version.
func versionRequest(args []string) (func(program string) error, bool) {
	switch {
	case slices.Equal(args, []string{"--version"}), slices.Equal(args, []string{"-v"}):
		return func(p string) error { return version.Line(os.Stdout, p) }, true
	case slices.Equal(args, []string{"version"}):
		return func(string) error { return version.Write(os.Stdout, false) }, true
	case slices.Equal(args, []string{"version", "--json"}):
		return func(string) error { return version.Write(os.Stdout, true) }, true
	}
	return nil, false
}

// needsRoot tells whether a command works on storage, which for an ordinary user means: in a user
// namespace. `mount` does not go there by itself, as its mounts would be gone with the namespace (cli.md §2).
func needsRoot(args []string) bool {
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		return false
	}
	switch command(args) {
	case "", "help", "version", "mount", "login", "logout", "completion", "__complete", "__completeNoDesc", "docs":
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
	case "--root", "--runroot", "--imagestore", "--log-level", "--registries-conf", "--registries-conf-dir",
		"--short-name-alias-conf", "--storage-driver", "--storage-opt", "--userns-uid-map", "--userns-gid-map",
		"--cgroup-manager", "--default-mounts-file", "--cpu-profile", "--memory-profile":
		return true
	}
	return false
}

// Package early is what runs before every other package starts. Go starts packages in the order of their
// import paths among those that are ready. So one that needs little of the standard library comes before nearly all
// others: `version` ends here in two milliseconds instead of paying thirteen. main imports it for that effect alone.
//
// What a role needs decides how early it can be served, so there is a package for each: this one, which does without
// fmt and strings; child, which needs x/sys/unix and JSON; user, which starts helpers; and unpack, which needs archive/tar. A test on the start-up
// trace guards the first two.
package early

import (
	"os"
	"runtime"

	"github.com/slipway-build/slipway/internal/version"
)

func init() {
	if text, ok := answer(os.Args); ok {
		if _, err := os.Stdout.WriteString(text); err != nil {
			_, _ = os.Stderr.WriteString("Error: " + err.Error() + "\n")
			os.Exit(125)
		}
		os.Exit(0)
	}
	runtime.MemProfileRate = 0 // else each half megabyte that is allocated costs a stack trace, which nobody looks at
}

// answer recognises the spellings that ask for nothing but the version.
func answer(argv []string) (text string, ok bool) {
	switch {
	case len(argv) == 2 && (argv[1] == "--version" || argv[1] == "-v"):
		return version.Line(base(argv[0])), true
	case len(argv) == 2 && argv[1] == "version":
		return version.Text(), true
	case len(argv) == 3 && argv[1] == "version" && argv[2] == "--json":
		return version.JSON(), true
	}
	return "", false
}

// base is the last part of a path.
func base(path string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[i+1:]
		}
	}
	return path
}

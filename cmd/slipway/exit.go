package main

import (
	"errors"

	"github.com/slipway-build/slipway/builder"
)

// silentError says that everything has been said; its code, if not 0, is the exit status.
type silentError struct{ code int }

func (e *silentError) Error() string { return "" }

// exitCode is the program's exit status for an error: that of the command that ran in a container, 125
// for everything else (cli.md §4). asShell, SLIPWAY_EXIT_CODES=shell, tells apart what the family gives 1 for.
func exitCode(err error, asShell bool) int {
	var silent *silentError
	if errors.As(err, &silent) && silent.code != 0 {
		return silent.code
	}
	var exit *builder.ExitError
	if errors.As(err, &exit) {
		if asShell && exit.Shell != 0 {
			return exit.Shell
		}
		return exit.Code
	}
	return 125
}

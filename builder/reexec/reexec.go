// Package reexec is what a program calls first that uses package builder or imagebuildah. Some of their work needs a process of its own:
// the first one of a command's container, one that unpacks a layer, one that is root of a user namespace. For these the running program is
// started again, under another name in argv[0], and must do that work then in place of its own. Nothing else has to be installed.
//
// It is not for the program slipway itself, which serves the same processes before its other packages start.
package reexec

import (
	"os"

	storage "github.com/containers/storage/pkg/reexec"

	_ "github.com/slipway-build/slipway/internal/early/child"  // the first process of a command
	_ "github.com/slipway-build/slipway/internal/early/unpack" // the storage library's children
	"github.com/slipway-build/slipway/internal/userns"
)

// Init returns in the program itself. In a process that was started for a piece of work it does that and exits. Call it as the first thing
// in main, or in TestMain: without it, what the program does would be done again in each of these processes.
func Init() {
	if os.Args[0] == userns.Name {
		os.Exit(userns.Main())
	}
	if storage.Init() {
		os.Exit(0)
	}
}

// Enter makes an ordinary user's program, or that of a container's root who may not mount, root of a user namespace, which working with
// storage needs: it starts the program again there, with the same arguments, passes on signals and exits with its status. It returns in
// the process that is to do the work: at once for root, and also where no such namespace is to be had, when all but running commands is
// possible. Mounts that the program leaves behind end with the namespace. Call it after [Init] and before all else, as what was done
// before is done twice.
//
// The error says why the namespace that was made cannot be used.
func Enter() error {
	if userns.Privileged() || userns.Entered() {
		return userns.DieWithCaller()
	}
	code, refused, err := userns.EnterOrGoOn()
	if refused || err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

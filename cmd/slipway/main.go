// Command slipway builds OCI container images without a daemon: primitives on working containers, and builds
// from Dockerfiles on top of them. This package is flags and printing; what is done is in builder and imagebuildah.
package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/containers/storage/pkg/reexec"

	_ "github.com/slipway-build/slipway/internal/early"        // answers `version` before anything else starts
	_ "github.com/slipway-build/slipway/internal/early/child"  // process 1 of a run
	_ "github.com/slipway-build/slipway/internal/early/unpack" // the storage library's children
	_ "github.com/slipway-build/slipway/internal/early/user"   // an ordinary user's way into a user namespace
)

func main() {
	if reexec.Init() { // children of the storage library that early does not serve
		return
	}
	unused := collectLater()
	hostEnvironment()
	code := run(os.Args, os.Stdin, os.Stdout, os.Stderr)
	runtime.KeepAlive(unused)
	os.Exit(code)
}

// collectLater moves the first garbage collection from 4 MB of heap to 32 MB: most commands end before that, and one
// collection of a fresh heap is a tenth of what they cost. From then on the pace is Go's own, as if 16 MB more were in use:
// a collection each few MB is a quarter of a build. They are what is returned, and nothing touches them, so they take no memory.
func collectLater() []byte {
	if _, set := os.LookupEnv("GOGC"); set {
		return nil
	}
	pace := debug.SetGCPercent(1200)
	runtime.AddCleanup(new([64]byte), func(int) { debug.SetGCPercent(pace) }, 0)
	return make([]byte, 16<<20)
}

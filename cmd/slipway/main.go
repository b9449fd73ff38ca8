// Command slipway builds OCI container images without a daemon: primitives on working containers, and builds
// from Dockerfiles on top of them. This package is flags and printing; what is done is in builder and imagebuildah.
package main

import (
	"os"

	"github.com/containers/storage/pkg/reexec"

	_ "github.com/slipway-build/slipway/internal/early" // serves children and `version` before anything else starts
)

func main() {
	if reexec.Init() { // children of the storage library that early does not serve
		return
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

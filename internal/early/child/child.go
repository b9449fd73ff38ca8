// Package child serves process 1 of a native run before the heavy libraries start. main imports it for that effect alone.
package child

import (
	"os"

	"github.com/slipway-build/slipway/internal/runchild"
)

func init() {
	if os.Args[0] == runchild.Name {
		os.Exit(runchild.Main())
	}
}

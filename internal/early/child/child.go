// Package child serves process 1 of a native run before the heavy libraries start. main imports it for that effect alone.
package child

import (
	"os"

	"github.com/slipway-build/slipway/internal/runchild"
)

func init() {
	switch os.Args[0] {
	case runchild.Name:
		os.Exit(runchild.Main())
	case runchild.RuntimeName:
		os.Exit(runchild.RuntimeMain())
	}
}

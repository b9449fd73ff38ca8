// Package tests runs the end-to-end scripts of tests/script through the built
// binary. tests/harness says what scripts can do.
package tests

import (
	"fmt"
	"os"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run prepares the binary once for all scripts.
func run(m *testing.M) int {
	h, err := harness.New()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	scripts = h
	code := m.Run()
	if err := h.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "cleaning up:", err)
		return 1
	}
	return code
}

// scripts is set by TestMain before any test runs.
var scripts *harness.Harness

func TestScript(t *testing.T) { scripts.Run(t, "script") }

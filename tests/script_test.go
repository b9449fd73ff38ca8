// Package tests runs the end-to-end scripts of tests/script through the built
// binary. tests/harness says what scripts can do.
package tests

import (
	"os"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &scripts)) }

// scripts is set by TestMain before any test runs.
var scripts *harness.Harness

func TestScript(t *testing.T) { scripts.Run(t, "script") }

// Package runner runs a command in a prepared root file system, described by an OCI runtime
// specification. It says what a runner is; packages native (built in, the default) and oci (crun or runc) are the two there are.
package runner

import (
	"context"
	"io"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/internal/runchild"
)

// A Job is one command to run.
type Job struct {
	// Spec describes it; Spec.Root.Path is where the root file system is mounted.
	Spec *specs.Spec
	// ID names the container to an OCI runtime; Dir is an empty directory for its use.
	ID, Dir string
	// Stdin nil is /dev/null.
	Stdin          *os.File
	Stdout, Stderr io.Writer
}

// Result tells how the command ended.
type Result struct {
	// Code is the exit status; Signal is not 0 if a signal ended the command.
	Code, Signal int
	// Created and Times are what was made in the root file system only to mount on, in order; the caller removes it.
	Created []runchild.Stub
	Times   []runchild.Time
}

// A Runner runs jobs. Nothing of the job is left running when Run returns; cancelling ctx kills it. An
// error means that the command could not be started or watched.
type Runner interface {
	Run(ctx context.Context, j Job) (Result, error)
}

// Package runner runs a command in a prepared root file system, described by an OCI runtime
// specification. It says what a runner is; packages native (built in, the default) and oci (crun or runc) are the two there are.
package runner

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/internal/runchild"
)

// A Job is one command to run.
type Job struct {
	// Spec describes it; Spec.Root.Path is where the root file system is mounted.
	Spec *specs.Spec
	// ID names the container to an OCI runtime; Dir is an empty directory for its use.
	ID, Dir string
	// NoPivot moves the root over the old one instead of exchanging the two: the root of a ramdisk cannot be exchanged.
	NoPivot bool
	// Trees are mounts that are attached nowhere yet (open_tree(2)). In Spec the path of TreePath stands for one of them, as the
	// source of a bind mount, the lower directory of an overlay, or a namespace to join.
	Trees []*os.File
	// Root is the number of the tree that is the root file system, counted from 1; 0 is for Spec.Root.Path. Who has a user namespace of
	// its own cannot walk to that path.
	Root int
	// Secrets are those variables of the specification that must get into no file.
	Secrets []string
	// Files are shown to the command from memory.
	Files []File
	// Connect, if not nil, connects the new network namespace that process pid has, before anything runs in it. What it returns
	// is called when everything has ended.
	Connect func(ctx context.Context, pid int) (done func() error, err error)
	// Made is told once, as soon as it is known, what was made in the root file system only to mount on. The caller removes it.
	Made func(Stubs)
	// Stdin nil is /dev/null.
	Stdin          *os.File
	Stdout, Stderr io.Writer
}

// Connected calls Connect if there is one.
func (j Job) Connected(ctx context.Context, pid int) (done func() error, err error) {
	if j.Connect == nil {
		return func() error { return nil }, nil
	}
	return j.Connect(ctx, pid)
}

// ContainerID is the ID of a command that has a directory.
func ContainerID(dir string) string { return "slipway-" + filepath.Base(dir) }

// Stubs are what was made only to mount on.
type Stubs = runchild.Stubs

// File is a file that exists in memory only: a secret. It is read-only.
type File = runchild.File

// TreePath is the path that stands for the i-th of a job's trees.
func TreePath(i int) string { return "tree:" + strconv.Itoa(i) }

// TreeIndex is the number of the tree that a path stands for.
func TreeIndex(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, "tree:")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(text)
	return i, err == nil
}

// Result tells how the command ended.
type Result struct {
	// Code is the exit status; Signal is not 0 if a signal ended the command.
	Code, Signal int
}

// A CommandError says that the command is not there or cannot be executed: all else was in order. Errno is why, 0 if that is
// not known.
type CommandError struct {
	Text  string
	Errno syscall.Errno
}

func (e *CommandError) Error() string { return e.Text }

// Is compares with why.
func (e *CommandError) Is(target error) bool { return e.Errno != 0 && e.Errno == target }

// A Runner runs jobs. Nothing of the job is left running when Run returns; cancelling ctx kills it. An
// error means that the command could not be started or watched.
type Runner interface {
	Run(ctx context.Context, j Job) (Result, error)
}

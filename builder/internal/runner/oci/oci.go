// Package oci runs commands through an OCI runtime, crun or runc. The runtime is a program of the
// host; what it is told is the same specification that the built-in runner takes.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/runner"
)

// Runner runs jobs with a runtime. Command is its name or path; empty takes crun, else runc. Flags are
// global flags without the leading dashes.
type Runner struct {
	Command string
	Flags   []string
	Log     *slog.Logger
}

// Run runs a job; see [runner.Runner].
func (r Runner) Run(ctx context.Context, j runner.Job) (runner.Result, error) {
	command, err := r.command()
	if err != nil {
		return runner.Result{}, err
	}
	res, err := stubs(j.Spec)
	if err != nil {
		return res, err
	}
	blob, err := json.Marshal(prepared(j.Spec))
	if err != nil {
		return res, err
	}
	if err := os.WriteFile(filepath.Join(j.Dir, "config.json"), blob, 0o600); err != nil {
		return res, err
	}
	global := []string{"--root", filepath.Join(j.Dir, "state")}
	for _, f := range r.Flags {
		global = append(global, "--"+strings.TrimLeft(f, "-"))
	}
	cmd := exec.CommandContext(ctx, command, append(global, "run", "--bundle", j.Dir, j.ID)...)
	if j.Stdin != nil {
		cmd.Stdin = j.Stdin
	}
	cmd.Stdout, cmd.Stderr = j.Stdout, j.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	r.Log.Debug("starting OCI runtime", "command", command, "bundle", j.Dir)
	err = cmd.Run()
	if derr := exec.Command(command, append(global, "delete", "--force", j.ID)...).Run(); derr != nil {
		r.Log.Debug("deleting the container of the OCI runtime", "error", derr) // usually gone already
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil && exit.ExitCode() >= 0 {
		res.Code = exit.ExitCode()
		return res, nil
	}
	if err != nil {
		return res, fmt.Errorf("OCI runtime %s: %w", command, err)
	}
	return res, nil
}

func (r Runner) command() (string, error) {
	if r.Command != "" {
		return exec.LookPath(r.Command)
	}
	for _, name := range []string{"crun", "runc"} {
		if p, err := exec.LookPath(name); err == nil && usable(name) {
			return p, nil
		}
	}
	return "", errors.New("isolation oci needs crun or runc: install one, or use the built-in isolation")
}

// usable tells whether a runtime works with the cgroups of this host: crun refuses the hybrid layout.
func usable(name string) bool {
	_, err := os.Stat("/sys/fs/cgroup/unified")
	return name != "crun" || err != nil
}

// prepared returns the specification as a runtime wants it: with the standard devices left to it.
func prepared(s *specs.Spec) *specs.Spec {
	c := *s
	linux := *s.Linux
	linux.Devices = nil
	for _, d := range s.Linux.Devices {
		c.Mounts = append(c.Mounts, specs.Mount{Destination: d.Path, Type: "bind", Source: d.Path, Options: []string{"bind"}})
	}
	c.Linux = &linux
	return &c
}

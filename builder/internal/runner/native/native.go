// Package native is the built-in runner: the namespaces, capabilities, seccomp filter, masks and limits that an
// OCI runtime gives, from one re-executed child, with nothing to install. The child's side is package runchild.
package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/internal/runchild"
)

// Runner is the built-in runner.
type Runner struct {
	Log *slog.Logger
	// Owners makes the command see and set owners that this process cannot set (package owners).
	Owners bool
	// Devices says that devices which the command makes may be records, which whoever makes the layer understands.
	Devices bool
}

// Run runs a job; see [runner.Runner].
func (r Runner) Run(ctx context.Context, j runner.Job) (res runner.Result, err error) {
	req, at, err := request(j.Spec)
	if err != nil {
		return runner.Result{}, err
	}
	req.Files, req.Stage, req.FirstTree, req.NoPivot = j.Files, j.Dir, runchild.FirstTree, j.NoPivot
	req.RootTree = j.Root
	h := hooking{spec: j.Spec.Hooks, state: runchild.State{Version: j.Spec.Version, ID: j.ID, Bundle: j.Dir, Annotations: j.Spec.Annotations}, stop: ctx.Done(), log: r.Log}
	if err := h.prepare(req, j); err != nil {
		return runner.Result{}, err
	}
	if j.Root > 0 { // process 1 could not make them where directories are the host's
		points, err := runner.MountPoints(j)
		j.Made(points.Stubs)
		if err != nil {
			return runner.Result{}, err
		}
	}
	limited, err := r.limit(j)
	if err != nil {
		return runner.Result{}, err
	}
	defer func() { err = errors.Join(err, limited.end()) }()
	// The parent-death signal is tied to the thread that starts the child, so that thread must last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var p process
	defer p.close()
	if err := p.start(r, req, at, j); err != nil {
		return runner.Result{}, err
	}
	stop := context.AfterFunc(ctx, p.kill)
	defer stop()
	if err := limited.add(&p); err != nil {
		return runner.Result{}, err
	}
	begun := time.Now() //nolint:forbidigo // a duration for the log
	disconnect, err := j.Connected(ctx, p.cmd.Process.Pid)
	if err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		return runner.Result{}, err
	}
	res, err = p.work(r, req, h, j.Made)
	err = errors.Join(err, disconnect())
	h.stopped()
	r.Log.Debug("process ended", "name", runchild.Name, "pid", p.cmd.Process.Pid, "after", time.Since(begun))
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	return res, err
}

// A talk is the conversation with process 1.
type talk struct {
	w     io.WriteCloser
	dec   *json.Decoder
	pid   int
	hooks hooking
	made  func(runner.Stubs)
}

// hold sends the request and reads the reports.
func (t talk) hold(req *runchild.Request) (runner.Result, error) {
	defer t.w.Close()
	var res runner.Result
	if err := json.NewEncoder(t.w).Encode(req); err != nil {
		return res, fmt.Errorf("telling process 1 what to do: %w", err)
	}
	var ready, end runchild.Report
	err := t.dec.Decode(&ready)
	if err == nil && ready.Mounted {
		hookErr := t.hooks.created(t.pid)
		if hookErr == nil {
			_, hookErr = t.w.Write([]byte{1})
		}
		if hookErr != nil {
			t.w.Close() // process 1 ends without the byte, and says what it has made
		}
		ready = runchild.Report{}
		if err = t.dec.Decode(&ready); hookErr != nil {
			t.made(ready.Stubs)
			return res, hookErr
		}
	}
	if err != nil {
		return res, fmt.Errorf("process 1 ended early: %w", err)
	}
	if len(ready.Missed) > 0 {
		t.hooks.log.Debug("sysctls that cannot be set here", "names", ready.Missed)
	}
	t.made(ready.Stubs)
	if ready.Command {
		return res, &runner.CommandError{Text: ready.Error, Errno: syscall.Errno(ready.Errno)}
	}
	if ready.Error != "" {
		return res, errors.New(ready.Error)
	}
	t.hooks.started(t.pid)
	if err := t.dec.Decode(&end); err != nil {
		return res, fmt.Errorf("process 1 was killed: %w", err)
	}
	res.Code, res.Signal = end.Exit, end.Signal
	if end.Error != "" {
		return res, errors.New(end.Error)
	}
	return res, nil
}

package native

//lint:file-ignore SA1019 stage prestart is superseded, and in use

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/internal/runchild"
)

// hooking runs the hooks of a specification that are the parent's: those in the runtime's namespaces.
type hooking struct {
	spec  *specs.Hooks // nil for none
	state runchild.State
	stop  <-chan struct{}
	log   *slog.Logger
}

// prepare tells process 1 of hooks, and writes the bundle's config.json, which hooks may read. Secrets are not in it: it is on a disk.
func (h hooking) prepare(req *runchild.Request, j runner.Job) error {
	if h.spec == nil {
		return nil
	}
	req.State, req.Hooked = h.state, len(h.before()) > 0
	req.CreateContainer, req.StartContainer = hookList(h.spec.CreateContainer), hookList(h.spec.StartContainer)
	s, process := *j.Spec, *j.Spec.Process
	process.Env = slices.DeleteFunc(slices.Clone(process.Env), func(kv string) bool { return slices.Contains(j.Secrets, kv) })
	s.Process = &process
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(j.Dir, "config.json"), text, 0o600); err != nil {
		return fmt.Errorf("preparing hooks: %w", err)
	}
	return nil
}

// before are the hooks that run when the namespaces are there and everything is mounted.
func (h hooking) before() []specs.Hook {
	return append(slices.Clone(h.spec.Prestart), h.spec.CreateRuntime...)
}

// created runs the hooks of a container that process 1, pid, has made but not entered.
func (h hooking) created(pid int) error {
	s := h.state.At("creating", pid)
	if err := runchild.RunHooks("prestart", hookList(h.spec.Prestart), s, h.stop, nil); err != nil {
		return err
	}
	return runchild.RunHooks("createRuntime", hookList(h.spec.CreateRuntime), s, h.stop, nil)
}

// started and stopped cannot make the command fail any more.
func (h hooking) started(pid int) {
	if h.spec != nil {
		h.warn(runchild.RunHooks("poststart", hookList(h.spec.Poststart), h.state.At("running", pid), h.stop, nil))
	}
}

func (h hooking) stopped() {
	if h.spec == nil {
		return
	}
	for _, hook := range hookList(h.spec.Poststop) { // each has something of its own to clean up, after an interrupt too
		h.warn(runchild.RunHooks("poststop", []runchild.Hook{hook}, h.state.At("stopped", 0), nil, nil))
	}
}

func (h hooking) warn(err error) {
	if err != nil {
		h.log.Warn(err.Error())
	}
}

func hookList(list []specs.Hook) []runchild.Hook {
	var hooks []runchild.Hook
	for _, h := range list {
		timeout := 0
		if h.Timeout != nil {
			timeout = *h.Timeout
		}
		hooks = append(hooks, runchild.Hook{Path: h.Path, Args: h.Args, Env: h.Env, Timeout: timeout})
	}
	return hooks
}

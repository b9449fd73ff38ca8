package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A bare row is a command of ours beside the OCI runtime alone that it goes through, on the same root file system and told the same:
// what no builder that uses the runtime can do without. (crun compiles the filter itself here, which Slipway does for it.)
type bare struct {
	row
	runtime string
}

// bares returns the rows of the runtimes that are installed.
func bares() (list []bare) {
	for _, name := range []string{"crun", "runc"} {
		if _, err := exec.LookPath(name); err == nil {
			list = append(list, bare{row{"run true, " + name + "; peer: " + name + " alone", 5, "tool run --isolation oci --runtime " + name + " ready -- true", 0}, name})
		}
	}
	return list
}

// bundle makes a bundle of what a runtime is told to run in the container "ready": a runtime that only keeps that shows it. Files that are
// made for one command are left out.
func bundle(ours *tool) error {
	const keep = `#!/bin/sh
while test $# -gt 0; do
	if test "$1" = --bundle; then cp "$2/config.json" kept.json; fi
	shift
done
`
	if err := os.WriteFile(filepath.Join(ours.dir, "keep"), []byte(keep), 0o755); err != nil {
		return err
	}
	if _, err := ours.run("tool from --name ready base >/dev/null; tool mount ready >mounted; mkdir -p bundle; tool run --isolation oci --runtime ./keep ready -- true", 1); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(ours.dir, "kept.json"))
	if err != nil {
		return err
	}
	root, err := os.ReadFile(filepath.Join(ours.dir, "mounted"))
	if err != nil {
		return err
	}
	var config map[string]any
	var mounts struct{ Mounts []map[string]any }
	if err := errors.Join(json.Unmarshal(text, &config), json.Unmarshal(text, &mounts)); err != nil {
		return err
	}
	config["root"] = map[string]any{"path": strings.TrimSpace(string(root))}
	config["mounts"] = slices.DeleteFunc(mounts.Mounts, func(m map[string]any) bool { return m["type"] == "bind" })
	if text, err = json.Marshal(config); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(ours.dir, "bundle", "config.json"), text, 0o600)
}

// alone is the script that runs the bundle.
func (b bare) alone() string {
	if b.runtime != "crun" {
		return "runc --root $RUNS/bare run --bundle bundle bare"
	}
	const run = "crun --cgroup-manager=disabled --root $RUNS/bare run --bundle bundle bare"
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err != nil {
		return run
	}
	return "unshare -m sh -c 'umount -l /sys/fs/cgroup/unified; exec " + run + "'" // beside which it refuses to work
}

func (b bare) measure(n int, ours, _ *tool) (result, error) {
	res := result{row: b.row, ours: worst(), theirs: worst()}
	if err := bundle(ours); err != nil {
		return res, fmt.Errorf("making a bundle: %w", err)
	}
	for i := range n + 1 {
		a, err := ours.run(b.script, b.repeat)
		if err != nil {
			return res, fmt.Errorf("ours: %w", err)
		}
		alone, err := ours.run(b.alone(), b.repeat)
		if err != nil {
			return res, fmt.Errorf("%s alone: %w", b.runtime, err)
		}
		if i > 0 {
			res.ours, res.theirs = res.ours.least(a), res.theirs.least(alone)
		}
	}
	_, err := ours.run("tool umount ready >/dev/null; tool rm ready >/dev/null", 1)
	return res, err
}

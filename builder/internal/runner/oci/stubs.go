package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/runchild"
)

// stubs lists what the runtime will make in the root file system to mount on, parents first, and the times of the
// directories it will make it in, as the built-in runner reports them of itself.
func stubs(s *specs.Spec) (res runner.Result, err error) {
	root, err := rootfs.Open(s.Root.Path, rootfs.Ignore)
	if err != nil {
		return res, err
	}
	defer root.Close()
	coming := map[string]bool{}
	for i, m := range s.Mounts {
		target := path.Clean("/" + m.Destination)
		if below(target, s.Mounts[:i]) {
			continue // made in what is mounted there, not in the container's own tree
		}
		st, err := os.Stat(m.Source)
		dir := m.Type != "bind" || err == nil && st.IsDir()
		if err := addMissing(&res, root, target, dir, coming); err != nil {
			return res, fmt.Errorf("looking for mount point %s: %w", target, err)
		}
	}
	return res, nil
}

func below(target string, mounts []specs.Mount) bool {
	for _, m := range mounts {
		if strings.HasPrefix(target, strings.TrimSuffix(path.Clean("/"+m.Destination), "/")+"/") {
			return true
		}
	}
	return false
}

// addMissing adds name, and its parents before it, if they are not there; coming holds what has been added.
func addMissing(res *runner.Result, root *rootfs.Root, name string, dir bool, coming map[string]bool) error {
	if name == "/" || coming[name] {
		return nil
	}
	if _, err := root.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	up := path.Dir(name)
	if err := addMissing(res, root, up, true, coming); err != nil {
		return err
	}
	if !coming[up] {
		info, err := root.Stat(up)
		if err != nil {
			return err
		}
		res.Times = append(res.Times, runchild.Time{Path: up, Mtime: info.Mtime})
	}
	coming[name] = true
	res.Created = append(res.Created, runchild.Stub{Path: name, Dir: dir})
	return nil
}

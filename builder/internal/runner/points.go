package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/runchild"
)

// OnHost is the host's number of an id of a user namespace: its own where there are no maps.
func OnHost(maps []specs.LinuxIDMapping, id uint32) int {
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return int(m.HostID + (id - m.ContainerID))
		}
	}
	return int(id)
}

// MountPoints makes what a runtime would make in the root file system to mount on, so that it is known. In a user namespace of the command's own
// it belongs to its root, who might not be able to make it: directories may be the host's. What lies below another mount is not in
// the root file system.
func MountPoints(j Job) (points *runchild.Points, err error) {
	if j.Root == 0 {
		return mountPoints(j)
	}
	l := j.Spec.Linux
	err = AsRoot(OnHost(l.UIDMappings, 0), OnHost(l.GIDMappings, 0), func() (err error) { points, err = mountPoints(j); return err })
	if points == nil {
		points = &runchild.Points{}
	}
	return points, err
}

func mountPoints(j Job) (*runchild.Points, error) {
	root, err := rootfs.Open(j.Spec.Root.Path, rootfs.Ignore)
	if err != nil {
		return &runchild.Points{}, err
	}
	defer root.Close()
	points, err := runchild.NewPoints(root)
	if err != nil {
		return points, err
	}
	var done []string
	add := func(target string, dir bool) error {
		target = path.Clean("/" + target)
		below := slices.ContainsFunc(done, func(d string) bool { return strings.HasPrefix(target, d+"/") })
		done = append(done, target)
		if below {
			return nil
		}
		if err := points.Make(target, dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making mount point %s: %w", target, err)
		}
		return nil
	}
	for _, m := range j.Spec.Mounts {
		if err := add(m.Destination, m.Type != "bind" || isDir(j, m.Source)); err != nil {
			return points, err
		}
	}
	for _, f := range j.Files {
		if err := add(f.Target, false); err != nil {
			return points, err
		}
	}
	return points, nil
}

func isDir(j Job, source string) bool {
	st, err := os.Stat(source)
	if i, ok := TreeIndex(source); ok {
		st, err = j.Trees[i].Stat()
	}
	return err == nil && st.IsDir()
}

package builder

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/runchild"
)

// What a command is shown inside a directory that is mounted in its container, as /etc/hosts is with "-v DIR:/etc", needs something there to be
// mounted on. Runners would make it in the caller's directory and leave it; so it is made before, and removed after the command.

// below is what is made in one mounted directory.
type below struct {
	root   *rootfs.Root
	points *runchild.Points
	dir    *os.File // nil if it cannot be read; locked: as long as two commands use the directory neither removes what the other one needs
	shared bool
}

func openBelow(tree *os.File) (*below, error) {
	root, err := rootfs.Open(runner.Path(tree), rootfs.Ignore)
	if err != nil {
		return nil, err
	}
	b := &below{root: root}
	if b.points, err = runchild.NewPoints(root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	if b.dir, err = os.Open(runner.Path(tree)); err == nil { // else nothing can be made there either, as a rule
		b.shared = unix.Flock(int(b.dir.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil
	}
	return b, nil
}

// close removes what was made.
func (b *below) close() (err error) {
	if b.shared && len(b.points.Created) > 0 && unix.Flock(int(b.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		err = removeStubs(b.root, b.points.Stubs)
	}
	if b.dir != nil {
		err = errors.Join(err, b.dir.Close())
	}
	return errors.Join(err, b.root.Close())
}

// placeBelow makes what mounts and files of s need inside mounted directories. A file of ours that has no place there, as the directory cannot be
// written to, is left out.
func (c *commanded) placeBelow(s *specs.Spec) error {
	places := map[int]*below{}
	make := func(target string, dir bool) error {
		i, name, readOnly := c.covering(s.Mounts, target)
		if i < 0 {
			return nil
		}
		b := places[i]
		if b == nil {
			var err error
			if b, err = openBelow(c.mounts.trees[i]); err != nil {
				return err
			}
			places[i] = b
			c.mounts.undo = append(c.mounts.undo, b.close)
		}
		if _, err := b.root.Stat(name); err == nil {
			return nil
		} else if readOnly {
			return unix.EROFS
		}
		return b.points.Make(name, dir)
	}
	var err error
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool {
		ours := strings.HasPrefix(m.Source, c.dir+"/")
		merr := make(m.Destination, !ours && c.isDir(m))
		refused := errors.Is(merr, unix.EROFS) || errors.Is(merr, unix.EACCES)
		if merr != nil && (!refused || !ours && m.Type == "bind") { // the kernel's may not be wanted
			err = errors.Join(err, fmt.Errorf("making mount point %s: %w", m.Destination, merr))
		}
		return ours && refused
	})
	for _, f := range c.mounts.files {
		if merr := make(f.Target, false); merr != nil {
			err = errors.Join(err, fmt.Errorf("making mount point %s: %w", f.Target, merr))
		}
	}
	return err
}

// covering is the number of the tree that is mounted where target lies, below its root, with the rest of the name; -1 for none.
func (c *commanded) covering(list []specs.Mount, target string) (tree int, name string, readOnly bool) {
	tree, target = -1, path.Clean("/"+target)
	longest := ""
	for _, m := range list {
		at := path.Clean("/" + m.Destination)
		rest, inside := strings.CutPrefix(target, at+"/")
		if !inside || len(at) < len(longest) {
			continue
		}
		longest, tree = at, -1
		if i, ok := runner.TreeIndex(m.Source); ok && m.Type == "bind" {
			tree, name, readOnly = i, rest, slices.Contains(m.Options, "ro")
		}
	}
	return tree, name, readOnly
}

// isDir tells whether what is mounted is a directory.
func (c *commanded) isDir(m specs.Mount) bool {
	if m.Type != "bind" {
		return true
	}
	st, err := os.Stat(m.Source)
	if i, ok := runner.TreeIndex(m.Source); ok {
		st, err = c.mounts.trees[i].Stat()
	}
	return err == nil && st.IsDir()
}

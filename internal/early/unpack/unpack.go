// Package unpack serves the children that containers/storage starts to unpack layers: it starts its own program again, to
// chroot. These roles answer in their place, with the same words, and unpack confined by descriptor: that works where
// chroot is refused, keeps owners that cannot be set, and does not wait for the heavy libraries (decisions.md §1.6).
// main imports it for that effect alone.
package unpack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/copier/untar"
	"github.com/slipway-build/slipway/internal/userns"
)

func init() {
	var err error
	switch os.Args[0] {
	case "storage-untar":
		err = untarRole(os.Args[1:])
	case "storage-applyLayer":
		err = applyLayerRole(os.Args[1:])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are the members of the library's unpacking options that matter; any other that is set is refused.
type options struct {
	ExcludePatterns   []string
	UIDMaps, GIDMaps  []idMap
	IgnoreChownErrors bool
	NoLchown          bool
	ChownOpts         *struct{ UID, GID int }
	WhiteoutFormat    int
	RebaseNames       map[string]string
	InUserNS          bool
	ForceMask         *uint32
}

type idMap struct {
	ContainerID int `json:"container_id"`
	HostID      int `json:"host_id"`
	Size        int `json:"size"`
}

// whiteoutsOverlay is the library's number for overlayfs's form of whiteouts.
const whiteoutsOverlay = 1

func (o *options) check() error {
	if len(o.ExcludePatterns) > 0 || len(o.RebaseNames) > 0 || o.ForceMask != nil || o.ChownOpts != nil {
		return errors.New("unpacking a layer: storage asks for excludes, renames, a forced mask or owner, which are not supported")
	}
	return nil
}

func (o *options) untar() untar.Options {
	u := untar.Options{Whiteouts: untar.Delete, UserXattr: o.InUserNS, IgnoreChown: o.IgnoreChownErrors || o.NoLchown}
	if o.WhiteoutFormat == whiteoutsOverlay {
		u.Whiteouts = untar.Overlay
	}
	if len(o.UIDMaps) > 0 || len(o.GIDMaps) > 0 {
		u.Map = func(uid, gid int) (int, int, error) {
			u, err := toHost(o.UIDMaps, uid)
			if err != nil {
				return 0, 0, err
			}
			g, err := toHost(o.GIDMaps, gid)
			return u, g, err
		}
	}
	return u
}

func toHost(maps []idMap, id int) (int, error) {
	for _, m := range maps {
		if id >= m.ContainerID && id < m.ContainerID+m.Size {
			return m.HostID + id - m.ContainerID, nil
		}
	}
	if len(maps) == 0 {
		return id, nil
	}
	return 0, fmt.Errorf("there might not be enough IDs available in the namespace for %d", id)
}

// untarRole is storage-untar: options on descriptor 3, the root as descriptor 4 or as the second argument.
func untarRole(args []string) error {
	var o options
	if err := json.NewDecoder(os.NewFile(3, "options")).Decode(&o); err != nil {
		return fmt.Errorf("reading options: %w", err)
	}
	if len(args) == 0 {
		return errors.New("no destination")
	}
	dir, below := args[0], "/"
	if len(args) > 1 && args[1] != "" {
		dir, below = args[1], args[0]
	}
	// Without overlay's whiteouts it is not a layer but the copy of a directory, with which driver vfs starts a new one.
	_, err := unpack(dir, below, &o, o.WhiteoutFormat != whiteoutsOverlay)
	return err
}

// applyLayerRole is storage-applyLayer: options in $OPT, the answer on standard output.
func applyLayerRole(args []string) error {
	var o options
	if err := json.Unmarshal([]byte(os.Getenv("OPT")), &o); err != nil {
		return fmt.Errorf("reading options: %w", err)
	}
	if len(args) == 0 {
		return errors.New("no destination")
	}
	size, err := unpack(args[0], "/", &o, false)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("{\"layerSize\":%d}\n", size)
	return err
}

func unpack(dir, below string, o *options, copied bool) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	unix.Umask(0)
	own := ownership(dir)
	top, err := rootfs.Open(dir, own)
	if err != nil {
		return 0, err
	}
	root, err := top.Sub(below)
	if err != nil {
		return 0, err
	}
	uo := o.untar()
	uo.MaxName = longestName(dir)
	if userns.Current() == userns.Subordinate || own == rootfs.Ignore {
		uo.SkipDevice = func(string) {}
	}
	if own == rootfs.Record {
		uo.Records = copied
		uo.Map = nil // storage's map says who root is on disk, the record who everybody is in the image
	}
	size, err := untar.Untar(context.Background(), os.Stdin, root, uo)
	if errors.Is(err, unix.ENAMETOOLONG) && uo.MaxName > 0 {
		err = fmt.Errorf("%w: the driver vfs copies layers by their whole paths: use overlay, or a shorter --root", err)
	}
	if err != nil {
		return size, err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // the sender hashes the padding too
	return size, err
}

// longestName is how long a path may be in a layer's directory: any length, but with the driver vfs, which copies layers by their
// whole paths, leaves out with no more than a log line what the kernel does not take at once.
func longestName(dir string) int {
	dir = realName(dir)
	if filepath.Base(filepath.Dir(filepath.Dir(dir))) != "vfs" {
		return 0
	}
	return unix.PathMax - 1 - len(dir)
}

// realName is a directory's own name where it is given by that of a descriptor in /proc.
func realName(dir string) string {
	if target, err := os.Readlink(dir); err == nil {
		dir = target
	}
	return filepath.Clean(dir)
}

// ownership is how the storage that a layer's directory belongs to treats owners, which it keeps in a file
// (decisions.md §1.7), or the way of this rung where there is none: in a separate image store.
func ownership(dir string) rootfs.Ownership {
	for up := filepath.Dir(realName(dir)); up != "/" && up != "."; up = filepath.Dir(up) {
		if text, err := os.ReadFile(filepath.Join(up, "slipway", "ownership")); err == nil {
			if own, ok := rootfs.ParseOwnership(strings.TrimSpace(string(text))); ok {
				return own
			}
		}
	}
	if r := userns.Current(); r == userns.OneID || r == userns.None {
		return rootfs.Record
	}
	return rootfs.Apply
}

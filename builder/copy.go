package builder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/spec"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/userns"
)

// Copy copies a source to dest in the container, as COPY and ADD do (dockerfile.md §6): relative
// destinations are below the working directory. It returns what was copied, by digest.
func (w *Workspace) Copy(ctx context.Context, dest string, src source.Source, o CopyOptions) (copier.Content, error) {
	in, err := src.Open(ctx)
	if err != nil {
		return copier.Content{}, err
	}
	if in.Close != nil {
		defer in.Close()
	}
	var content copier.Content
	err = w.inRoot(func(root *rootfs.Root) error {
		co, err := copierOptions(root, o)
		if userns.Current() == userns.Subordinate || w.s.own == rootfs.Ignore { // the kernel lets nobody make devices there
			co.SkipDevice = func(name string) {
				w.s.o.Log.Warn(fmt.Sprintf("device %s is left out: devices can only be made by root, or recorded where one id exists (docs/rootless.md)", name))
			}
		}
		co.Avoid = w.s.notStorage()
		if err == nil {
			content, err = put(ctx, root, w.destination(dest), in, o.Unpack, co)
		}
		return err
	})
	if err != nil {
		return content, fmt.Errorf("copying %s: %w", src, err)
	}
	return content, nil
}

// notStorage refuses to copy the storage into one of its containers, which would not end.
func (s *Store) notStorage() func(rootfs.Info) error {
	var root unix.Stat_t
	if unix.Stat(s.GraphRoot(), &root) != nil {
		return nil
	}
	return func(dir rootfs.Info) error {
		if dir.Dev != root.Dev || dir.Ino != root.Ino {
			return nil
		}
		return fmt.Errorf("the storage %s is in what is copied: exclude it (--exclude, .containerignore), or use another --root", s.GraphRoot())
	}
}

// put copies what a source gave.
func put(ctx context.Context, root *rootfs.Root, dest string, in source.Opened, unpack bool, co copier.Options) (copier.Content, error) {
	switch {
	case in.Root != nil:
		return copier.Copy(ctx, root, dest, in.Root, in.Patterns, co)
	case unpack:
		return copier.Extract(ctx, root, dest, in.Body, co)
	}
	return copier.PutFile(ctx, root, dest, in.Name, in.Mode, in.Mtime, in.Body, co)
}

// destination makes dest absolute and keeps a trailing slash, which says that it is a directory.
func (w *Workspace) destination(dest string) string {
	dir := strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.") || dest == "." || dest == ""
	if !path.IsAbs(dest) {
		dest = path.Join("/", w.cfg.Config.WorkingDir, dest)
	}
	dest = path.Clean(dest)
	if dir && dest != "/" {
		dest += "/"
	}
	return dest
}

func copierOptions(root *rootfs.Root, o CopyOptions) (copier.Options, error) {
	co := copier.Options{
		KeepOwner: o.KeepOwner, Top: o.Top, Chmod: o.Chmod, Excludes: o.Excludes, Parents: o.Parents, NoFollow: o.NoFollow,
		Mtime: o.Mtime, AllowEmptyWildcard: o.AllowEmptyWildcard, NoWildcard: o.NoWildcard, Unpack: o.Unpack, Link: o.Link, NoDigest: o.NoDigest, List: o.List, Index: o.Index,
	}
	if o.Chown != "" {
		uid, gid, err := lookupOwner(root, o.Chown)
		if err != nil {
			return co, err
		}
		co.UID, co.GID = &uid, &gid
	}
	var err error
	co.Ignore, err = copier.ReadIgnore(o.IgnoreFile)
	return co, err
}

// noID is the number that stands for no change of owner; larger ones would be cut off by the kernel, to root's for one.
const noID = math.MaxUint32

// lookupOwner resolves the value of --chown in the container: numbers need no look-up, a lone number is
// user and group, a lone name brings the user's primary group, and an unknown name is an error (dockerfile.md §6.5, §19.2).
func lookupOwner(root *rootfs.Root, chown string) (uid, gid int, err error) {
	user, group, both := strings.Cut(chown, ":")
	if n, nerr := strconv.ParseUint(user, 10, 32); nerr == nil && n < noID && !both {
		return int(n), int(n), nil
	}
	if user == "" {
		user = "0"
	}
	if both && group == "" {
		group = "0"
	}
	text := user
	if both {
		text += ":" + group
	}
	u, err := spec.LookupUser(root, text)
	if err != nil {
		return 0, 0, fmt.Errorf("looking up UID/GID for %q: %w", chown, err)
	}
	return int(u.UID), int(u.GID), nil
}

// NumericOwner tells whether the value of --chown means the same in every image.
func NumericOwner(chown string) bool {
	user, group, _ := strings.Cut(chown, ":")
	for _, part := range []string{user, group} {
		if n, err := strconv.ParseUint(part, 10, 32); part != "" && (err != nil || n >= noID) {
			return false
		}
	}
	return true
}

// Owner makes numbers of the value of --chown, by the files of a sealed layer and those below it.
func (s *Store) Owner(ctx context.Context, layer, chown string) (text string, err error) {
	root, done, err := s.OpenLayer(ctx, layer)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, done()) }()
	return numericOwner(root, chown)
}

func numericOwner(root *rootfs.Root, chown string) (string, error) {
	uid, gid, err := lookupOwner(root, chown)
	return fmt.Sprintf("%d:%d", uid, gid), err
}

// owner is the configured user's identity, root's for an unknown one.
func (w *Workspace) owner(root *rootfs.Root) (uid, gid int, err error) {
	if w.cfg.Config.User == "" {
		return 0, 0, nil
	}
	u, err := spec.LookupUser(root, w.cfg.Config.User)
	if unknown := spec.UnknownError(""); errors.As(err, &unknown) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return int(u.UID), int(u.GID), nil
}

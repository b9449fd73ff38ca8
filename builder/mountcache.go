package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/internal/flock"
	"github.com/slipway-build/slipway/internal/idmap"
)

// Cache mounts are directories <root>/slipway/mounts/KEY[.N], each with the files "lock", held for as long as a command
// uses it, "id", which says what it is called, and the directory "data". The key is a digest: what a Dockerfile calls a
// cache never becomes a path (CVE-2024-9675).

// cache prepares a cache mount.
func (p *mounting) cache(ctx context.Context, m Mount) error {
	c := cacheDir{s: p.w.s, m: m}
	var err error
	if c.ids, err = p.apart(); err != nil {
		return err
	}
	if c.ids == nil { // remote caches know the container's owners only
		c.remote = p.o.SeedCache
	}
	var seed *mountSource
	source := m.Source
	if m.From != "" {
		src, err := p.source(ctx, m.From)
		if err != nil {
			return err
		}
		seed, source = &src, "/"
		if c.origin, err = p.origin(m); err != nil {
			return err
		}
	}
	data, err := p.held(ctx, c, seed)
	if err != nil {
		return err
	}
	return p.attachCache(c, data, first(source, "/"))
}

// held is the directory of a cache, which the command holds until it has ended. One that it holds already is the same one: a command does
// not wait for itself.
func (p *mounting) held(ctx context.Context, c cacheDir, seed *mountSource) (string, error) {
	if data := p.caches[c.key()]; data != "" && c.m.Sharing != "private" {
		return data, nil
	}
	lock, data, err := c.open(ctx, seed)
	if err != nil {
		return "", err
	}
	p.undo = append(p.undo, lock.Close)
	p.caches[c.key()] = data
	return data, nil
}

// attachCache binds a path in the directory of a cache.
func (p *mounting) attachCache(c cacheDir, data, source string) error {
	root, err := rootfs.Open(data, p.w.s.own)
	if err != nil {
		return err
	}
	p.undo = append(p.undo, root.Close)
	if p.o.CacheUsed != nil && !c.m.ReadOnly && c.ids == nil { // others could not read its owners
		p.o.CacheUsed(c.mount())
	}
	f, err := pin(root, source, false)
	if err != nil {
		return err
	}
	if c.m.Has("U") {
		if err := p.giveUser(f, c.ids); err != nil {
			return errors.Join(fmt.Errorf("changing the owner of the cache: %w", err), f.Close())
		}
	}
	if err := p.relabel(c.m, data); err != nil {
		return errors.Join(err, f.Close())
	}
	if c.ids != nil {
		return p.attach(c.m, f)
	}
	return p.attachOurs(c.m, f)
}

// origin identifies the initial content of a cache: another one makes another cache (dockerfile.md §5.5).
func (p *mounting) origin(m Mount) (string, error) {
	id := m.From
	if p.o.Identify != nil {
		var err error
		if id, err = p.o.Identify(m.From); err != nil {
			return "", err
		}
	} else if img, err := p.w.s.Image(m.From); err == nil {
		id = img.TopLayer()
	}
	return id + "\n" + m.Source, nil
}

type cacheDir struct {
	s      *Store
	m      Mount
	origin string
	ids    *idmap.IDs                                               // the owners on disk are those of a user namespace
	remote func(ctx context.Context, m CacheMount, dir string) bool // RunOptions.SeedCache
}

func (c cacheDir) mode() uint32 {
	if c.m.Mode != nil {
		return *c.m.Mode
	}
	return 0o755
}

func (c cacheDir) key() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %o %d %d", c.m.ID, c.origin, c.mode(), c.m.UID, c.m.GID))
	if c.ids != nil {
		sum = sha256.Sum256(fmt.Appendf(sum[:], " %v %v", c.ids.UIDs, c.ids.GIDs))
	}
	return hex.EncodeToString(sum[:])
}

// apart are the maps of a command's user namespace for which caches are kept apart, nil if their owners can be shifted: the same cache then
// serves commands with any maps.
func (p *mounting) apart() (*idmap.IDs, error) {
	if p.ids == nil {
		return nil, nil //nolint:nilnil // no maps are no error
	}
	base, err := p.w.s.dir("mounts")
	if err != nil {
		return nil, err
	}
	f, err := detached(base)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := p.shift.apply(f); errors.Is(err, errNotShifted) {
		return p.ids, nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil //nolint:nilnil // as above
}

func (c cacheDir) mount() CacheMount { return CacheMount{Key: c.key(), ID: c.m.ID} }

// open locks the cache as its sharing mode says and returns where its content is. A private cache that somebody else uses is
// left to them: there are as many as are used at the same time.
func (c cacheDir) open(ctx context.Context, seed *mountSource) (*flock.Lock, string, error) {
	base, err := c.s.dir("mounts")
	if err != nil {
		return nil, "", err
	}
	for n := 0; ; n++ {
		dir := filepath.Join(base, c.key())
		if n > 0 {
			dir += "." + strconv.Itoa(n)
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, "", err
		}
		if err := c.fill(ctx, dir, seed); err != nil {
			return nil, "", fmt.Errorf("making the cache: %w", err)
		}
		file := filepath.Join(dir, "lock")
		var lock *flock.Lock
		switch c.m.Sharing {
		case "private":
			lock, err = flock.Try(file, flock.Exclusive)
		case "locked":
			lock, err = wait(ctx, file, flock.Exclusive)
		default:
			lock, err = wait(ctx, file, flock.Shared)
		}
		if errors.Is(err, flock.ErrLocked) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		data := filepath.Join(dir, "data")
		if _, err := os.Lstat(data); errors.Is(err, fs.ErrNotExist) { // removed since
			lock.Close()
			n--
			continue
		}
		now := c.s.o.Now()
		_ = os.Chtimes(file, now, now) // when it was last used
		return lock, data, nil
	}
}

// wait locks a file, until ctx ends.
func wait(ctx context.Context, file string, mode flock.Mode) (*flock.Lock, error) {
	for {
		lock, err := flock.Try(file, mode)
		if !errors.Is(err, flock.ErrLocked) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fill makes the content of a new cache: aside, so that it is whole or not there.
func (c cacheDir) fill(ctx context.Context, dir string, seed *mountSource) error {
	lock, err := wait(ctx, filepath.Join(dir, "making"), flock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Lstat(filepath.Join(dir, "data")); err == nil {
		return nil
	}
	if err := rootfs.RemoveTree(filepath.Join(dir, removedMount)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "id"), []byte(c.m.ID+"\n"), 0o600); err != nil {
		return err
	}
	root, err := rootfs.OpenMapped(dir, c.s.own, c.ids)
	if err != nil {
		return err
	}
	defer root.Close()
	top, err := root.Dir("/")
	if err != nil {
		return err
	}
	defer top.Close()
	if err := c.begin(ctx, dir, root, top, seed); err != nil {
		return err
	}
	return top.Rename(top, "new", "data")
}

// begin makes the directory "new" with what the cache begins with: what a remote cache has of it, else the seed.
func (c cacheDir) begin(ctx context.Context, dir string, root *rootfs.Root, top *rootfs.Dir, seed *mountSource) error {
	renew := func() error {
		if err := top.RemoveAll("new"); err != nil {
			return err
		}
		return top.Mkdir("new", c.mode())
	}
	if c.remote != nil && filepath.Base(dir) == c.key() { // the others of a private cache are made for a moment
		if err := renew(); err != nil {
			return err
		}
		if c.remote(ctx, c.mount(), filepath.Join(dir, "new")) {
			return nil
		}
	}
	if err := renew(); err != nil {
		return err
	}
	if seed == nil {
		return top.Chown("new", int(c.m.UID), int(c.m.GID))
	}
	o := copier.Options{KeepOwner: !seed.rootOwns, Top: true, Ignore: seed.ignore, NoDigest: true, NoWildcard: true}
	source := first(c.m.Source, "/")
	if _, err := copier.Copy(ctx, root, "/new/", seed.root, []string{source}, o); err != nil {
		return err
	}
	if seed.top(source) {
		return open(root, "/new")
	}
	return nil
}

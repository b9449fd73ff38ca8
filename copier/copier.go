// Package copier copies files into a root file system, with the meaning that COPY and ADD have in a
// Dockerfile (BuildKit's). Source and destination are confined roots of package rootfs: both may be hostile,
// and may change while being copied. It works in this process, descriptor to descriptor, in one pass.
//
// It does not know stages, images or networks: those are sources that its callers open. Start reading at Copy.
package copier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// Options controls copying. The zero value copies as COPY does from a build context: owned by 0:0, modes
// and times kept, links at the top followed (dockerfile.md §6).
type Options struct {
	// UID and GID own everything copied; nil is 0, or the source's owner with KeepOwner.
	UID, GID  *int
	KeepOwner bool
	// Chmod is octal or symbolic (chmod(1), umask 0); empty keeps modes.
	Chmod string
	// Excludes are patterns in ignore-file syntax, relative to each copied directory and to the source root.
	Excludes []string
	// Ignore hides files of the source root, as an ignore file does.
	Ignore *Ignore
	// Top copies a directory that a pattern names with its own owner, mode and attributes, which count in the digest then.
	Top bool
	// Parents keeps the source's directories below the destination; "/./" in a pattern says from where on.
	Parents bool
	// NoFollow copies a link named by a pattern as a link.
	NoFollow bool
	// Mtime is given to everything copied.
	Mtime *time.Time
	// AllowEmptyWildcard makes a pattern that matches nothing no error; NoWildcard refuses patterns.
	AllowEmptyWildcard, NoWildcard bool
	// Unpack extracts regular files that are archives, by content.
	Unpack bool
	// Link copies as into a layer of its own that is put on top: nothing of the destination is followed or asked.
	Link bool
	// Avoid, if set, is asked about each directory that is copied: its error ends the copy.
	Avoid func(rootfs.Info) error
	// Index, if set, knows digests of files from earlier times; Digest asks it and tells it.
	Index *Index
	// SkipDevice, if set, is told the names of devices that may not be made, and are left out.
	SkipDevice func(name string)
	// List gives Content.List.
	List bool
	// NoDigest skips the digest where it is known: data can then be copied by the kernel.
	NoDigest bool
}

// Content says what was copied. Its digest covers names, types, modes, owners, sizes, attributes, link
// targets and bytes, not times (containers.md §9).
type Content struct {
	// Kind is "file:", "dir:" or "multi:", the word before the digest in histories.
	Kind   string
	Digest digest.Digest
	Files  int
	Bytes  int64
	// State is made of inodes and times: Digest gives them as they were before a file was read, Copy as they were
	// after. If the two are equal, nothing was touched from the one to the other.
	State string
	// List is for Difference: what of the content each path is.
	List string
}

// Copy copies what patterns select below src to dest in dst. A dest with a trailing slash, or that is a
// directory, takes files under their own names; a directory's contents are merged into dest.
func Copy(ctx context.Context, dst *rootfs.Root, dest string, src *rootfs.Root, patterns []string, o Options) (Content, error) {
	return run(ctx, dst, dest, src, patterns, o)
}

// Digest is what Copy would return, with nothing written.
func Digest(ctx context.Context, src *rootfs.Root, patterns []string, o Options) (Content, error) {
	return run(ctx, nil, "/", src, patterns, o)
}

func run(ctx context.Context, dst *rootfs.Root, dest string, src *rootfs.Root, patterns []string, o Options) (Content, error) {
	if len(patterns) == 0 {
		return Content{}, errors.New("src must be specified")
	}
	c, err := newCopying(ctx, dst, o)
	if err != nil {
		return Content{}, err
	}
	var items []item
	starts := make([]int, len(patterns))
	for i, p := range patterns { // all before anything is written
		starts[i] = len(items)
		found, err := c.selected(src, p)
		if err != nil {
			return Content{}, err
		}
		items = append(items, found...)
	}
	for i, it := range items {
		if slices.Contains(starts, i) {
			clear(c.links) // links between sources become files of their own (dockerfile.md §6.4)
		}
		c.under = it.under()
		if err := c.item(src, it, dest); err != nil {
			return Content{}, err
		}
	}
	if err := c.setTimes(); err != nil {
		return Content{}, err
	}
	return c.content(items, len(patterns)), nil
}

// PutFile writes one file from a stream: a download, a here-document, text. name is used when dest is a directory.
func PutFile(ctx context.Context, dst *rootfs.Root, dest, name string, mode uint32, mtime time.Time, r io.Reader, o Options) (Content, error) {
	c, err := newCopying(ctx, dst, o)
	if err != nil {
		return Content{}, err
	}
	at, err := c.place(dest, name)
	if err != nil {
		return Content{}, err
	}
	defer at.dir.Close()
	if err := refuseWhiteout(at.base); err != nil {
		return Content{}, err
	}
	info := rootfs.Info{Name: name, Mode: typeRegular | mode&0o7777, Mtime: mtime}
	sum, err := c.put(at, info, r)
	if err != nil {
		return Content{}, err
	}
	c.add(name, info, "", nil, sum)
	return c.content(nil, 1), c.setTimes()
}

func (c *copying) put(at place, info rootfs.Info, r io.Reader) (sum []byte, err error) {
	f, err := c.create(at, private)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = at.dir.Unlink(at.base) // neither half a download nor one with the wrong checksum stays
		}
	}()
	h := sha256.New()
	if _, err = f.WriteSparse(io.TeeReader(readerCtx{c.ctx, r}, h), c.buffer(0)); err != nil {
		return nil, err
	}
	return h.Sum(nil), c.attributes(f, info, nil)
}

// readerCtx ends a stream when its context does.
type readerCtx struct {
	ctx context.Context //nolint:containedctx // lives as long as one call
	r   io.Reader
}

func (r readerCtx) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func newCopying(ctx context.Context, dst *rootfs.Root, o Options) (*copying, error) {
	chmod, err := ParseChmod(o.Chmod)
	if err != nil {
		return nil, err
	}
	exclude, err := NewIgnore(anchored(o.Excludes))
	if err != nil {
		return nil, fmt.Errorf("parsing excludes: %w", err)
	}
	return &copying{ctx: ctx, dst: dst, o: o, chmod: chmod, exclude: exclude, sum: sha256.New(), state: sha256.New(),
		links: map[inode]linked{}, dirTimes: map[string]time.Time{}}, nil
}

// Sum is the digest of several contents, given as hex digits, copied by one command.
func Sum(digests []string) digest.Digest { return digest.FromString(strings.Join(digests, "\n")) }

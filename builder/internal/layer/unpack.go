package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	drivers "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	"github.com/vbatts/tar-split/tar/asm"
	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/copier/untar"
	"github.com/slipway-build/slipway/internal/userns"
)

// Unpackable tells whether storage takes layers that are unpacked here: the driver takes directories, and owners on disk are
// those of images or recorded.
func Unpackable(st storage.Store) bool {
	d, err := st.GraphDriver()
	return err == nil && native(d) && len(st.UIDMap()) == 0 && len(st.GIDMap()) == 0
}

// A Staged is a layer that is unpacked beside storage's layers, and none of them yet: nobody sees it. Store makes it one, Drop
// removes it.
type Staged struct {
	DiffID digest.Digest
	st     storage.Store
	own    rootfs.Ownership
	out    *drivers.DriverWithDifferOutput
	rooted bool // the tar says what the root directory is like
}

// Unpack reads a layer's tar, uncompressed, once: it is hashed, unpacked, and recorded so that storage can write it again byte for
// byte. r is read ahead by another goroutine, so that it may decompress beside that; it ends by itself
// only if r is read to its end, else with r's next read. The storage must be Unpackable. stage is as in [Options].
func Unpack(ctx context.Context, st storage.Store, r io.Reader, own rootfs.Ownership, stage func(Staging) error) (*Staged, error) {
	d := &unpacker{ctx: ctx, own: own, stage: stage, sum: sha256.New(), uids: ids{}, gids: ids{}, r: readAhead(r)}
	defer d.r.stop()
	out, err := st.PrepareStagedLayer(nil, d)
	if err != nil {
		if out != nil && out.Target != "" {
			err = errors.Join(err, st.CleanupStagedLayer(out))
		}
		return nil, err
	}
	return &Staged{DiffID: out.UncompressedDigest, st: st, own: own, out: out, rooted: d.rooted}, nil
}

// Store makes the layer one of storage's, over parent ("" for none), unless it is there already, and returns its ID. blob is the
// digest of the compressed form it was read from; claim is as in [Options]. Afterwards there is nothing to drop.
func (s *Staged) Store(parent string, blob digest.Digest, claim func(Claimed) error) (string, error) {
	t := &task{st: s.st, parent: parent, o: Options{Claim: claim}}
	id := ID(parent, s.DiffID)
	if !s.rooted && parent != "" {
		if err := inheritRoot(s.st, s.own, s.out, parent); err != nil {
			return "", errors.Join(err, s.Drop())
		}
	}
	s.out.CompressedDigest = blob
	kept := false
	err := t.place(id, func([]string) error {
		err := t.apply(id, nil, s.out)
		kept = err == nil
		return err
	})
	if !kept {
		err = errors.Join(err, s.Drop())
	}
	return id, err
}

// Drop removes what was unpacked.
func (s *Staged) Drop() error { return s.st.CleanupStagedLayer(s.out) }

// inheritRoot gives the root directory of what is staged the owner and mode it has in the layer below, as storage does when it unpacks.
func inheritRoot(st storage.Store, own rootfs.Ownership, out *drivers.DriverWithDifferOutput, parent string) error {
	d, err := st.GraphDriver()
	if err != nil {
		return err
	}
	below, _, err := directories(d, parent)
	if err != nil {
		return err
	}
	from, err := rootfs.Open(below, own)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Lstat("/")
	if err != nil {
		return err
	}
	to, err := rootfs.Open(out.Target, own)
	if err != nil {
		return err
	}
	defer to.Close()
	top, err := to.Dir("/")
	if err != nil {
		return err
	}
	defer top.Close()
	at := top.At(".")
	if err := errors.Join(at.Chown(info.UID, info.GID), at.Chmod(info.Mode&0o7777)); err != nil {
		return err
	}
	root, err := os.Stat(out.Target)
	if err != nil {
		return err
	}
	mode := root.Mode()
	out.RootDirMode = &mode
	return nil
}

// An unpacker fills a staging directory from a tar. It is what the library calls a source of a layer.
type unpacker struct {
	ctx        context.Context //nolint:containedctx // lives as long as one call
	own        rootfs.Ownership
	stage      func(Staging) error
	r          *ahead
	sum        hash.Hash
	size       int64
	uids, gids ids
	rooted     bool
}

// Close is there for the library's interface.
func (d *unpacker) Close() error { return nil }

// Write hashes and counts what passes.
func (d *unpacker) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	return d.sum.Write(p)
}

// ApplyDiff is called by the storage driver with an empty directory of its own.
func (d *unpacker) ApplyDiff(dest string, to *archive.TarOptions, o *drivers.DifferOptions) (out drivers.DriverWithDifferOutput, err error) {
	if o != nil && o.Format != drivers.DifferOutputFormatDir || to.ForceMask != nil {
		return out, errNotPlain
	}
	if err := noteStaging(d.stage, dest, Staging{}); err != nil {
		return out, err
	}
	root, err := rootfs.Open(dest, d.own)
	if err != nil {
		return out, err
	}
	defer root.Close()
	meta, err := newRecorder(filepath.Dir(dest))
	if err != nil {
		return out, err
	}
	if err := errors.Join(d.unpack(root, meta, d.options(to)), meta.end()); err != nil {
		return out, errors.Join(err, meta.file.Close())
	}
	out = drivers.DriverWithDifferOutput{
		Differ: d, Size: d.size, UIDs: d.uids.list(), GIDs: d.gids.list(),
		UncompressedDigest: digest.NewDigest(digest.SHA256, d.sum), TarSplit: meta.file,
	}
	if d.rooted {
		st, err := os.Stat(dest)
		if err != nil {
			return out, errors.Join(err, meta.file.Close())
		}
		mode := st.Mode()
		out.RootDirMode = &mode
	}
	return out, nil
}

// options are what the library's mean to our unpacker; internal/early/unpack reads the same for its children.
func (d *unpacker) options(to *archive.TarOptions) untar.Options {
	o := untar.Options{Whiteouts: untar.Delete, UserXattr: to.InUserNS, IgnoreChown: to.IgnoreChownErrors, Each: d.note}
	if to.WhiteoutFormat == archive.OverlayWhiteoutFormat {
		o.Whiteouts = untar.Overlay
	}
	if userns.Current() == userns.Subordinate || d.own == rootfs.Ignore {
		o.SkipDevice = func(string) {}
	}
	return o
}

// note keeps what storage has to know of an entry.
func (d *unpacker) note(h *tar.Header) {
	name := path.Clean("/" + h.Name)
	if strings.HasPrefix(path.Base(name), whiteoutPrefix) {
		return
	}
	d.uids[uint32(h.Uid)], d.gids[uint32(h.Gid)] = struct{}{}, struct{}{}
	d.rooted = d.rooted || name == "/"
}

// unpack writes the files below root and the tar-split records to meta.
func (d *unpacker) unpack(root *rootfs.Root, meta io.Writer, o untar.Options) error {
	r, err := asm.NewInputTarStream(io.TeeReader(d.r, d), tarsplit.NewJSONPacker(meta), nil)
	if err != nil {
		return err
	}
	_, err = untar.Untar(d.ctx, r, root, o)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // padding counts
	}
	if err != nil {
		if c, ok := r.(io.Closer); ok {
			err = errors.Join(err, c.Close()) // ends the goroutine that records
		}
		return fmt.Errorf("unpacking layer: %w", err)
	}
	return nil
}

package copier

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// add puts one entry into the digest: everything but times. Owners are those the copy gets.
func (c *copying) add(rel string, info rootfs.Info, link string, attrs map[string][]byte, sum []byte) {
	if !info.IsDir() {
		c.files++
		c.bytes += info.Size
	}
	if info.Mtime.After(c.newest) {
		c.newest = info.Mtime
	}
	c.seen(rel, info)
	if c.o.NoDigest {
		return
	}
	uid, gid := c.owner(info)
	mode := info.Mode&unix.S_IFMT | c.chmod.Apply(info.Perm(), info.IsDir())
	if info.IsSymlink() {
		mode = unix.S_IFLNK
	}
	var rdev uint64
	if info.IsDevice() {
		rdev = info.Rdev
	}
	b := c.scratch[:0]
	for _, n := range []uint64{uint64(mode), uint64(uid), uint64(gid), rdev} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = text(text(b, rel), link)
	keys := make([]string, 0, len(attrs))
	for k := range attrs {
		if keepXattr(k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = text(text(b, k), string(attrs[k]))
	}
	c.list(rel, mode, b, sum)
	c.scratch = text(b, string(sum))
	c.sum.Write(c.scratch)
}

// seen puts what tells whether a file was touched into the state of the source.
func (c *copying) seen(rel string, info rootfs.Info) {
	b := text(c.scratch[:0], rel)
	for _, n := range []uint64{info.Dev, info.Ino, uint64(info.Size), nano(info.Mtime), nano(info.Ctime)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	c.scratch = b
	c.state.Write(b)
}

func nano(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.Unix())*1_000_000_000 + uint64(t.Nanosecond()) // wraps around for absurd times, which still differ
}

// text appends a string with its length in front, so that no two lists of strings look alike.
func text(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// archived puts an unpacked archive into the digest, by its bytes.
func (c *copying) archived(name string, sum []byte) {
	c.files++
	if !c.o.NoDigest {
		c.list(name, typeRegular, nil, sum)
		c.sum.Write(text(text(nil, "archive"), string(sum)))
	}
}

func (c *copying) content(items []item, patterns int) Content {
	out := Content{Kind: "file:", Files: c.files, Bytes: c.bytes, State: hex.EncodeToString(c.state.Sum(nil)), List: string(c.listing)}
	switch {
	case patterns > 1 || len(items) > 1:
		out.Kind = "multi:"
	case len(items) == 1 && items[0].info.IsDir():
		out.Kind = "dir:"
	}
	if !c.o.NoDigest && (c.files > 0 || len(items) > 0) {
		out.Digest = digest.NewDigest(digest.SHA256, c.sum)
	}
	return out
}

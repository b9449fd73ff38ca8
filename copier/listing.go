package copier

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// A digest says that content is another, not where. A listing has a few bytes for each path, enough to find the paths that differ between two of
// them: it is for people, and nothing is decided by it.

// maxListing bounds a listing; one that would be longer is none.
const maxListing = 1 << 20

// under is what the names of an item's parts are below.
func (it item) under() string {
	switch {
	case it.chain != "":
		return trim(it.pivot)
	case it.info.IsDir():
		return trim(it.typed)
	}
	return trim(path.Dir(it.typed))
}

// list adds a path, what it has beside its bytes, and their digest.
func (c *copying) list(rel string, mode uint32, attributes, sum []byte) {
	if !c.o.List || c.o.NoDigest {
		return
	}
	if len(c.listing) > maxListing {
		c.o.List, c.listing = false, nil
		return
	}
	for _, n := range []uint32{mode, crc32.ChecksumIEEE(attributes), crc32.ChecksumIEEE(sum)} {
		c.listing = binary.LittleEndian.AppendUint32(c.listing, n)
	}
	if c.under != "" {
		c.listing = append(append(c.listing, c.under...), '/')
	}
	c.listing = append(append(c.listing, rel...), 0)
}

// listed is what a listing has of a path.
type listed struct{ mode, attributes, bytes uint32 }

func parseListing(text string) map[string]listed {
	const head = 12
	b := []byte(text)
	paths := map[string]listed{}
	for len(b) > head {
		end := bytes.IndexByte(b[head:], 0)
		if end < 0 {
			break
		}
		word := func(n int) uint32 { return binary.LittleEndian.Uint32(b[4*n:]) }
		paths[cmp.Or(trim(string(b[head:head+end])), ".")] = listed{word(0), word(1), word(2)}
		b = b[head+end+1:]
	}
	return paths
}

// Difference says in what two listings differ: the first path, how, and how many others do. It is empty where they do not.
func Difference(was, is string) string {
	old, now := parseListing(was), parseListing(is)
	maps.DeleteFunc(old, func(name string, l listed) bool {
		same, ok := now[name]
		if ok = ok && same == l; ok {
			delete(now, name)
		}
		return ok
	})
	names := slices.AppendSeq(slices.Collect(maps.Keys(old)), maps.Keys(now))
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return ""
	}
	text := difference(names[0], old, now)
	if more := len(names) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

func difference(name string, was, is map[string]listed) string {
	a, before := was[name]
	b, after := is[name]
	switch {
	case !before:
		return fmt.Sprintf("%q is new", name)
	case !after:
		return fmt.Sprintf("%q is gone", name)
	case a.mode&unix.S_IFMT != b.mode&unix.S_IFMT:
		return fmt.Sprintf("%q was %s, is %s", name, kind(a.mode), kind(b.mode))
	case b.mode&unix.S_IFMT == unix.S_IFREG && (a.bytes == 0) != (b.bytes == 0): // a hard link has no digest of its own
		return fmt.Sprintf("%q is, or was, another name of a file", name)
	case a.bytes != b.bytes:
		return fmt.Sprintf("%q has other bytes", name)
	case a.mode != b.mode:
		return fmt.Sprintf("%q had mode %o, has %o", name, a.mode&^unix.S_IFMT, b.mode&^unix.S_IFMT)
	case b.mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Sprintf("%q links elsewhere", name)
	}
	return fmt.Sprintf("%q has another owner, other attributes or other hard links", name)
}

// kind is what a file is, by its mode.
func kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "a file"
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a link"
	}
	return "special"
}

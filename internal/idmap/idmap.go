// Package idmap translates owners between a container and the disk, for containers that have user namespaces of their own. It is
// pure and imports the standard library only. Start with IDs.
package idmap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Range maps Size numbers that begin with Container to those that begin with Host.
type Range struct{ Container, Host, Size uint32 }

// A Map is ranges that do not overlap; an empty one changes nothing.
type Map []Range

// Inside returns the container's number for one on disk. A number that the map has not was put there from outside the container, and is
// meant as it stands.
func (m Map) Inside(id uint32) uint32 {
	for _, r := range m {
		if id >= r.Host && id-r.Host < r.Size {
			return r.Container + (id - r.Host)
		}
	}
	return id
}

// Outside returns the number on disk for one of the container; ok is false if there is none.
func (m Map) Outside(id uint32) (host uint32, ok bool) {
	for _, r := range m {
		if id >= r.Container && id-r.Container < r.Size {
			return r.Host + (id - r.Container), true
		}
	}
	return id, len(m) == 0
}

// ErrMalformed says that a text is not the range of a map.
var ErrMalformed = errors.New("malformed")

// Parse reads "container:host:length"; any character but a digit may separate (cli.md §8.3). The error is ErrMalformed.
func Parse(text string) (Range, error) {
	var n [3]uint32
	for i := range n {
		digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
		v, err := strconv.ParseUint(text[:digits], 10, 32)
		if err != nil {
			return Range{}, ErrMalformed
		}
		n[i], text = uint32(v), text[digits:]
		if i == len(n)-1 {
			break
		}
		_, size := utf8.DecodeRuneInString(text)
		text = text[size:]
	}
	if text != "" {
		return Range{}, ErrMalformed
	}
	return Range{n[0], n[1], n[2]}, nil
}

// Check refuses ranges that are empty, overlap or end beyond the largest number.
func (m Map) Check() error {
	for i, r := range m {
		switch {
		case r.Size == 0:
			return fmt.Errorf("the range %s is empty", r)
		case uint64(r.Container)+uint64(r.Size) > 1<<32-1, uint64(r.Host)+uint64(r.Size) > 1<<32-1:
			return fmt.Errorf("the range %s ends beyond the largest id", r)
		}
		for _, s := range m[:i] {
			if overlap(r.Container, r.Size, s.Container, s.Size) || overlap(r.Host, r.Size, s.Host, s.Size) {
				return fmt.Errorf("the ranges %s and %s overlap", s, r)
			}
		}
	}
	return nil
}

func overlap(a, na, b, nb uint32) bool {
	return uint64(a) < uint64(b)+uint64(nb) && uint64(b) < uint64(a)+uint64(na)
}

func (r Range) String() string { return fmt.Sprintf("%d:%d:%d", r.Container, r.Host, r.Size) }

// IDs are the maps of a container. A nil pointer changes nothing.
type IDs struct{ UIDs, GIDs Map }

// Inside returns the container's numbers for those on disk.
func (ids *IDs) Inside(uid, gid uint32) (u, g uint32) {
	if ids == nil {
		return uid, gid
	}
	return ids.UIDs.Inside(uid), ids.GIDs.Inside(gid)
}

// Outside returns the numbers on disk for those of the container. -1, which leaves an owner as it is, stays.
func (ids *IDs) Outside(uid, gid int) (u, g int, err error) {
	if ids == nil {
		return uid, gid, nil
	}
	if u, err = outside(ids.UIDs, uid); err != nil {
		return 0, 0, fmt.Errorf("user %w", err)
	}
	if g, err = outside(ids.GIDs, gid); err != nil {
		return 0, 0, fmt.Errorf("group %w", err)
	}
	return u, g, nil
}

func outside(m Map, id int) (int, error) {
	if id < 0 {
		return id, nil
	}
	host, ok := m.Outside(uint32(id))
	if !ok {
		return 0, fmt.Errorf("%d is not in the id map of the container's user namespace", id)
	}
	return int(host), nil
}

// The forms of the attribute security.capability: the third ends with the number on disk of the root that the capabilities
// are for, the second means root of the whole machine.
const (
	CapabilityName = "security.capability"

	revisionMask  = 0xff000000
	revision2     = 0x02000000
	revision3     = 0x03000000
	size2, size3  = 20, 24
	rootIDAt      = 20
	machineRootID = 0
)

// CapabilityInside returns what file capabilities on disk are in the container: those for its root lose the number.
func (ids *IDs) CapabilityInside(value []byte) []byte {
	if ids == nil || len(value) != size3 || binary.LittleEndian.Uint32(value)&revisionMask != revision3 {
		return value
	}
	root := ids.UIDs.Inside(binary.LittleEndian.Uint32(value[rootIDAt:]))
	if root != machineRootID {
		return binary.LittleEndian.AppendUint32(append([]byte{}, value[:rootIDAt]...), root)
	}
	v := append([]byte{}, value[:size2]...)
	binary.LittleEndian.PutUint32(v, binary.LittleEndian.Uint32(v)&^revisionMask|revision2)
	return v
}

// CapabilityOutside returns what file capabilities of the container have to be on disk.
func (ids *IDs) CapabilityOutside(value []byte) []byte {
	if ids == nil || len(value) != size2 || binary.LittleEndian.Uint32(value)&revisionMask != revision2 {
		return value
	}
	root, ok := ids.UIDs.Outside(0)
	if !ok || root == machineRootID {
		return value
	}
	v := binary.LittleEndian.AppendUint32(append([]byte{}, value...), root)
	binary.LittleEndian.PutUint32(v, binary.LittleEndian.Uint32(v)&^revisionMask|revision3)
	return v
}

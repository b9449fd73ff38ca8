package owners

import (
	"slices"

	"golang.org/x/sys/unix"
)

// none is the id -1 of calls that leave one alone.
const none = 1<<32 - 1

// An identity is who a process believes to be: real, effective, saved and file system ids. It is a value:
// changes make a new one.
type identity struct {
	uid, gid set
	groups   []uint32
	// keep is PR_SET_KEEPCAPS; kept says that capabilities have outlived the last id 0, until the next exec.
	keep, kept bool
}

// A set is the four ids of one kind.
type set struct{ r, e, s, fs uint32 }

func all(id uint32) set { return set{id, id, id, id} }

// has tells whether an unprivileged process may take id: it is one of the three it has.
func (s set) has(id uint32) bool { return id == s.r || id == s.e || id == s.s }

// privileged: the kernel takes capabilities away with effective id 0, and gives them back with it.
func (i identity) privileged() bool { return i.uid.e == 0 || i.kept }

// as returns the identity with other uids, and what the kernel does to capabilities then.
func (i identity) as(uid set) identity {
	if i.uid.has(0) && !uid.has(0) {
		i.kept = i.keep
	}
	i.uid = uid
	return i
}

// run returns who the identity is after it has executed a file of that owner and mode: its setuid and setgid bits
// count, as the kernel, which sees one id only, cannot make them.
func (i identity) run(uid, gid int, mode uint32) identity {
	i.keep, i.kept = false, false
	if mode&unix.S_ISUID != 0 {
		i.uid.e = uint32(uid)
	}
	if mode&unix.S_ISGID != 0 && mode&unix.S_IXGRP != 0 {
		i.gid.e = uint32(gid)
	}
	i.uid.s, i.uid.fs = i.uid.e, i.uid.e
	i.gid.s, i.gid.fs = i.gid.e, i.gid.e
	return i
}

// one is setuid and setgid.
func (s set) one(id uint32, privileged bool) (set, unix.Errno) {
	switch {
	case id == none:
		return s, unix.EINVAL
	case privileged:
		return all(id), 0
	case id == s.r || id == s.s:
		s.e, s.fs = id, id
		return s, 0
	}
	return s, unix.EPERM
}

// two is setreuid and setregid; -1 leaves an id.
func (s set) two(r, e int64, privileged bool) (set, unix.Errno) {
	n := s
	if r >= 0 {
		if n.r = uint32(r); !privileged && n.r != s.r && n.r != s.e {
			return s, unix.EPERM
		}
	}
	if e >= 0 {
		if n.e = uint32(e); !privileged && !s.has(n.e) {
			return s, unix.EPERM
		}
	}
	if r >= 0 || e >= 0 && n.e != s.r {
		n.s = n.e
	}
	n.fs = n.e
	return n, 0
}

// three is setresuid and setresgid.
func (s set) three(r, e, v int64, privileged bool) (set, unix.Errno) {
	n := s
	for _, x := range []struct {
		want int64
		to   *uint32
	}{{r, &n.r}, {e, &n.e}, {v, &n.s}} {
		if x.want < 0 {
			continue
		}
		if !privileged && !s.has(uint32(x.want)) {
			return s, unix.EPERM
		}
		*x.to = uint32(x.want)
	}
	n.fs = n.e
	return n, 0
}

// files is setfsuid and setfsgid, which never fail and tell what was.
func (s set) files(id uint32, privileged bool) set {
	if id != none && (privileged || s.has(id) || id == s.fs) {
		s.fs = id
	}
	return s
}

// member tells whether the identity has a group for files.
func (i identity) member(gid int) bool {
	return int(i.gid.fs) == gid || gid >= 0 && slices.Contains(i.groups, uint32(gid))
}

// initial tells whether the identity is the one that processes of which nothing is known have.
func (i identity) initial() bool {
	return i.uid == set{} && i.gid == set{} && len(i.groups) == 0
}

// plain tells whether what this identity makes belongs to 0:0, as on disk.
func (i identity) plain() bool { return i.uid.fs == 0 && i.gid.fs == 0 }

// mayChown tells whether the kernel would let this identity give a file away; -1 leaves an owner.
func (i identity) mayChown(owner, group int, uid, gid int64, capChown bool) bool {
	if (i.uid.fs == 0 || i.kept) && capChown || uid < 0 && gid < 0 {
		return true
	}
	if int(i.uid.fs) != owner {
		return false
	}
	return (uid < 0 || int(uid) == owner) && (gid < 0 || int(gid) == group || i.member(int(gid)))
}

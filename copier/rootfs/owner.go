package rootfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Ownership says what happens to an owner or a device that this process may not make, as in a user
// namespace with one identity (decisions.md §1.7).
type Ownership int

// The ways to treat owners.
const (
	// Apply sets owners and makes devices; not being permitted is an error.
	Apply Ownership = iota
	// Record writes them to the extended attribute that containers/storage uses for it, and shows them in Lstat.
	Record
	// Ignore drops them silently.
	Ignore
	// Fail is Apply for callers that want to say so: any owner but one's own is an error.
	Fail
)

func (o Ownership) String() string {
	switch o {
	case Record:
		return "record"
	case Ignore:
		return "ignore"
	case Fail:
		return "fail"
	}
	return "apply"
}

// overrideXattr is containers/storage's and fuse-overlayfs's format: "uid:gid:mode[:char-MAJ-MIN]".
const overrideXattr = "user.containers.override_stat"

type record struct {
	uid, gid int
	device   uint32 // S_IFCHR or S_IFBLK, 0 for none
	rdev     uint64
}

func parseRecord(text string) (record, error) {
	var r record
	f := strings.Split(text, ":")
	if len(f) < 3 {
		return r, errors.New("not an ownership record")
	}
	var err error
	if r.uid, err = strconv.Atoi(f[0]); err != nil {
		return r, err
	}
	if r.gid, err = strconv.Atoi(f[1]); err != nil {
		return r, err
	}
	if len(f) > 3 {
		return r, r.parseDevice(f[3])
	}
	return r, nil
}

func (r *record) parseDevice(text string) error {
	d := strings.Split(text, "-")
	switch {
	case d[0] == "char" && len(d) == 3:
		r.device = unix.S_IFCHR
	case d[0] == "block" && len(d) == 3:
		r.device = unix.S_IFBLK
	default:
		return nil
	}
	major, err := strconv.ParseUint(d[1], 10, 32)
	if err != nil {
		return err
	}
	minor, err := strconv.ParseUint(d[2], 10, 32)
	r.rdev = unix.Mkdev(uint32(major), uint32(minor))
	return err
}

func (r record) format(mode uint32) string {
	text := fmt.Sprintf("%d:%d:%04o", r.uid, r.gid, mode&0o7777)
	kind := ""
	switch r.device {
	case unix.S_IFCHR:
		kind = "char"
	case unix.S_IFBLK:
		kind = "block"
	default:
		return text
	}
	return fmt.Sprintf("%s:%s-%d-%d", text, kind, unix.Major(r.rdev), unix.Minor(r.rdev))
}

// save writes a record to an entry that can carry one; links, FIFOs and sockets cannot, and go without.
func (d *Dir) save(name string, r record) error {
	i, err := infoAt(d.fd, name, name, Apply)
	if err != nil || !(i.IsRegular() || i.IsDir()) {
		return err
	}
	return d.setXattr(name, overrideXattr, []byte(r.format(i.Mode)))
}

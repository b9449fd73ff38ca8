package rootfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/caps"
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
	// Ignore drops owners silently. A device is an error, so that whoever makes it can leave it out.
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

// ParseOwnership reads what String gives.
func ParseOwnership(text string) (Ownership, bool) {
	for _, o := range []Ownership{Apply, Record, Ignore, Fail} {
		if o.String() == text {
			return o, true
		}
	}
	return Apply, false
}

// overrideXattr is containers/storage's and fuse-overlayfs's format: "uid:gid:mode[:char-MAJ-MIN]".
const overrideXattr = "user.containers.override_stat"

// capXattr holds the record of what may not carry attributes of users: links, FIFOs and sockets. File
// capabilities mean nothing there, the kernel lets root of a user namespace set them on anything it owns, and, unlike a
// table of inodes, they follow the file through renames, copies of a layer and overlayfs.
const capXattr = "security.capability"

// capMagic stands where no capability has a bit yet, and tells our records from capabilities.
const capMagic = 0x534c4950

// The largest numbers of a device, and the number that says "no id" to the kernel.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
	noID     = 1<<32 - 1
)

// An Override is what a file is in its image where that cannot be set on disk.
type Override struct {
	UID, GID int
	// Mode is the permission bits, 07777.
	Mode uint32
	// Device is S_IFCHR or S_IFBLK for a device that is an empty file on disk, else 0.
	Device uint32
	Rdev   uint64
}

func parseOverride(text string) (Override, error) {
	var o Override
	f := strings.Split(text, ":")
	if len(f) < 3 {
		return o, errors.New("not an ownership record")
	}
	uid, uerr := strconv.ParseUint(f[0], 10, 32)
	gid, gerr := strconv.ParseUint(f[1], 10, 32)
	mode, merr := strconv.ParseUint(f[2], 8, 32)
	if err := errors.Join(uerr, gerr, merr); err != nil {
		return o, err
	}
	if uid == noID || gid == noID {
		return o, errors.New("-1 is nobody's id")
	}
	o.UID, o.GID, o.Mode = int(uid), int(gid), uint32(mode)&0o7777
	if len(f) > 3 {
		return o, o.parseDevice(f[3])
	}
	return o, nil
}

func (o *Override) parseDevice(text string) error {
	d := strings.Split(text, "-")
	switch {
	case d[0] == "char" && len(d) == 3:
		o.Device = unix.S_IFCHR
	case d[0] == "block" && len(d) == 3:
		o.Device = unix.S_IFBLK
	default:
		return nil
	}
	major, err := strconv.ParseUint(d[1], 10, 32)
	if err != nil {
		return err
	}
	minor, err := strconv.ParseUint(d[2], 10, 32)
	if err == nil && (major > maxMajor || minor > maxMinor) {
		err = errors.New("no such device number")
	}
	o.Rdev = unix.Mkdev(uint32(major), uint32(minor))
	return err
}

func (o Override) format() string {
	text := fmt.Sprintf("%d:%d:%04o", o.UID, o.GID, o.Mode&0o7777)
	kind := ""
	switch o.Device {
	case unix.S_IFCHR:
		kind = "char"
	case unix.S_IFBLK:
		kind = "block"
	default:
		return text
	}
	return fmt.Sprintf("%s:%s-%d-%d", text, kind, unix.Major(o.Rdev), unix.Minor(o.Rdev))
}

// capability packs the owner into the form of file capabilities, version 2.
func (o Override) capability() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x02000000)
	for _, word := range []uint32{uint32(o.UID), uint32(o.GID), capMagic, 0} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

func parseCapability(b []byte) (Override, bool) {
	if len(b) < 20 || binary.LittleEndian.Uint32(b[12:]) != capMagic {
		return Override{}, false
	}
	uid, gid := binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])
	return Override{UID: int(uid), GID: int(gid), Mode: 0o777}, uid != noID && gid != noID
}

// carries tells whether the kernel lets a file of that type (S_IFMT bits) have attributes of users.
func carries(mode uint32) bool {
	t := mode & unix.S_IFMT
	return t == unix.S_IFREG || t == unix.S_IFDIR
}

// place is where a record is: the file that a path names, or with follow the one that it leads to.
type place struct {
	path   string
	follow bool
}

func (p place) get(key string, buf []byte) (int, error) {
	if p.follow {
		return unix.Getxattr(p.path, key, buf)
	}
	return unix.Lgetxattr(p.path, key, buf)
}

// read returns the record of a file whose st_mode is given. Text that is no record is none: a file may carry any attribute of users.
func (p place) read(mode uint32) (Override, bool) {
	var buf [128]byte
	if carries(mode) {
		n, err := p.get(overrideXattr, buf[:])
		if err != nil {
			return Override{}, false
		}
		o, err := parseOverride(string(buf[:n]))
		return o, err == nil
	}
	if n, err := p.get(capXattr, buf[:]); err == nil {
		return parseCapability(buf[:n])
	}
	if !outside() {
		return Override{}, false
	}
	dir, key := p.aside()
	n, err := unix.Getxattr(dir, key, buf[:])
	if err != nil {
		return Override{}, false
	}
	o, err := parseOverride(string(buf[:n]))
	return o, err == nil
}

// outside tells whether this process is an ordinary user without a user namespace, or a root that is no more than that: it can record but
// neither set file capabilities nor look into files that their own owner may not read.
func outside() bool { return !caps.Files() }

// asideXattr, followed by the name, holds the record of a link or FIFO in its directory, for those who
// cannot use [capXattr].
const asideXattr = "user.slipway.owner."

// shadowXattr holds the file capabilities that such a process cannot set.
const shadowXattr = "user.slipway.capability"

// aside is the directory and the attribute there for a file that cannot have any itself.
func (p place) aside() (dir, key string) {
	name := p.path
	if p.follow {
		if target, err := os.Readlink(p.path); err == nil {
			name = target
		}
	}
	return path.Dir(name), asideXattr + path.Base(name)
}

// attribute is the record of a file of that type.
func (o Override) attribute(mode uint32) (key string, value []byte) {
	if carries(mode) {
		return overrideXattr, []byte(o.format())
	}
	return capXattr, o.capability()
}

func (p place) write(mode uint32, o Override) error {
	key, value := o.attribute(mode)
	set := unix.Lsetxattr
	if p.follow {
		set = unix.Setxattr
	}
	err := set(p.path, key, value, 0)
	if errors.Is(err, unix.EPERM) && key == capXattr && outside() {
		dir, key := p.aside()
		return unix.Setxattr(dir, key, []byte(o.format()), 0)
	}
	return err
}

func (p place) remove(mode uint32) {
	key := capXattr
	if carries(mode) {
		key = overrideXattr
	} else if outside() {
		dir, key := p.aside()
		_ = unix.Removexattr(dir, key)
	}
	if p.follow {
		_ = unix.Removexattr(p.path, key)
	} else {
		_ = unix.Lremovexattr(p.path, key)
	}
}

// Recordable tells whether the file system of a directory keeps records.
func Recordable(dir string) bool {
	_, err := unix.Getxattr(dir, overrideXattr, nil)
	return !errors.Is(err, unix.ENOTSUP)
}

// ReadOverride returns the record of an open file (O_PATH will do) whose st_mode is given.
func ReadOverride(fd int, mode uint32) (Override, bool) { return place{fdPath(fd), true}.read(mode) }

// ReadOverrideAt returns the record of what a link below /proc/PID leads to.
func ReadOverrideAt(path string, mode uint32) (Override, bool) { return place{path, true}.read(mode) }

// ReadOverrideFrom is ReadOverride for a descriptor that need not be O_PATH: on one that is not, it spares the look-up in /proc.
func ReadOverrideFrom(fd int, mode uint32) (Override, bool) {
	if !carries(mode) {
		return ReadOverride(fd, mode)
	}
	var buf [128]byte
	n, err := unix.Fgetxattr(fd, overrideXattr, buf[:])
	if errors.Is(err, unix.EBADF) {
		return ReadOverride(fd, mode)
	}
	if err != nil {
		return Override{}, false
	}
	o, err := parseOverride(string(buf[:n]))
	return o, err == nil
}

// ReadOverrideIn returns the record of a name in an open directory, which may be O_PATH, without opening it, of a link
// itself or with follow of what it leads to. It is an error where the kernel cannot tell: before 6.13, or if a seccomp filter older than that refuses the call.
func ReadOverrideIn(dir int, name string, mode uint32, follow bool) (o Override, recorded bool, err error) {
	key := overrideXattr
	if !carries(mode) {
		key = capXattr
	}
	var buf [128]byte
	n, err := xattrat(unix.SYS_GETXATTRAT, dir, name, key, buf[:], follow)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return o, false, err
	case err != nil:
		return o, false, nil //nolint:nilerr // none, as for read
	case !carries(mode):
		o, recorded = parseCapability(buf[:n])
		return o, recorded, nil
	}
	o, err = parseOverride(string(buf[:n]))
	return o, err == nil, nil
}

// WriteOverrideIn replaces it for what a link in such a directory leads to, with the same errors for want of the call.
func WriteOverrideIn(dir int, name string, mode uint32, o Override) error {
	key, value := o.attribute(mode)
	_, err := xattrat(unix.SYS_SETXATTRAT, dir, name, key, value, true)
	return err
}

// xattrat calls getxattrat or setxattrat.
func xattrat(call uintptr, dir int, name, key string, value []byte, follow bool) (int, error) {
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return 0, err
	}
	attr, err := unix.BytePtrFromString(key)
	if err != nil {
		return 0, err
	}
	flags := unix.AT_SYMLINK_NOFOLLOW
	if follow {
		flags = 0
	}
	args := struct {
		value       *byte
		size, flags uint32
	}{value: &value[0], size: uint32(len(value))} // the kernel's struct xattr_args
	n, _, errno := unix.Syscall6(call, uintptr(dir), uintptr(unsafe.Pointer(path)), uintptr(flags),
		uintptr(unsafe.Pointer(attr)), uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// WriteOverride replaces it.
func WriteOverride(fd int, mode uint32, o Override) error {
	return place{fdPath(fd), true}.write(mode, o)
}

// WriteOverrideTo is WriteOverride for a descriptor that is not O_PATH, which spares the look-up in /proc.
func WriteOverrideTo(fd int, mode uint32, o Override) error {
	key, value := o.attribute(mode)
	return unix.Fsetxattr(fd, key, value, 0)
}

// RemoveOverride takes it away: what is on disk is true.
func RemoveOverride(fd int, mode uint32) { place{fdPath(fd), true}.remove(mode) }

// readable adds the permissions that this process needs itself to those that a file is meant to have.
func readable(mode, perm uint32) uint32 {
	switch {
	case !outside():
		return perm
	case mode&unix.S_IFMT == unix.S_IFDIR:
		return perm | 0o700
	}
	return perm | 0o600
}

// ShadowOf returns the name that an extended attribute of a store with records has in the image.
func ShadowOf(key string) (name string, ok bool) { return capXattr, key == shadowXattr }

// IsRecordName tells whether an extended attribute of that name, on a file of type mode, belongs to ownership records and not to whoever
// uses the file.
func IsRecordName(key string, mode uint32) bool {
	return key == overrideXattr || key == shadowXattr || strings.HasPrefix(key, asideXattr) || key == capXattr && !carries(mode)
}

// IsOverride tells whether an extended attribute of a file that is not regular is a record instead of what its name says.
func IsOverride(key string, value []byte) bool {
	if key == overrideXattr || strings.HasPrefix(key, asideXattr) {
		return true
	}
	_, ok := parseCapability(value)
	return key == capXattr && ok
}

// ParseOverride reads a record from the extended attribute that holds it on a file of type mode.
func ParseOverride(mode uint32, value []byte) (Override, error) {
	if carries(mode) {
		return parseOverride(string(value))
	}
	o, ok := parseCapability(value)
	if !ok {
		return o, errors.New("not an ownership record")
	}
	return o, nil
}

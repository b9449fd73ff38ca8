package owners

import (
	"errors"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// A file is one that a call is about, open with O_PATH as a rule, with what is meant to be its owner.
type file struct {
	fd       int
	name     string      // in the directory fd, if it is known from there only (see glimpse)
	usable   bool        // fd is more than a name for the file (O_PATH)
	st       unix.Stat_t // as on disk
	meant    rootfs.Override
	recorded bool
}

func (f *file) close() { unix.Close(f.fd) }

// file finds the file of a call.
func (c *call) file(dirfd int, name string, nofollow, empty bool) (*file, error) {
	fd, err := c.open(dirfd, name, nofollow, empty)
	if err != nil {
		return nil, err
	}
	return c.opened(fd)
}

// held describes the file of a descriptor, which must be more than a name for one (O_PATH).
func (c *call) held(fd int) (*file, error) {
	if fd < 0 {
		return nil, unix.EBADF
	}
	if c.s.tasks[c.tid()] == nil {
		c.s.task(c.tid()) // to borrow from it
	}
	at, borrowed := c.take(fd)
	if !borrowed {
		var err error
		if at, err = c.start(fd); err != nil {
			return nil, err
		}
	} else if flags, err := unix.FcntlInt(uintptr(at), unix.F_GETFL, 0); err != nil || flags&unix.O_PATH != 0 {
		unix.Close(at)
		return nil, unix.EBADF
	}
	return c.describe(&file{fd: at, usable: borrowed})
}

// opened describes an open file, which it takes over.
func (c *call) opened(fd int) (*file, error) { return c.describe(&file{fd: fd}) }

func (c *call) describe(f *file) (*file, error) {
	if err := unix.Fstat(f.fd, &f.st); err != nil {
		f.close()
		return nil, err
	}
	f.meant, f.recorded = c.s.record(f)
	if !f.recorded {
		f.meant = rootfs.Override{UID: int(f.st.Uid), GID: int(f.st.Gid), Mode: f.st.Mode & 0o7777}
		if f.st.Mode&unix.S_IFMT == unix.S_IFSOCK { // bind(2) made it for somebody: servers set its permissions next
			who := c.who()
			f.meant.UID, f.meant.GID = int(who.uid.fs), int(who.gid.fs)
		}
	}
	return f, nil
}

// record reads a file's record.
func (s *Supervisor) record(f *file) (rootfs.Override, bool) {
	return s.lookup(&f.st, spot{dir: f.fd}, func() (rootfs.Override, bool) {
		if f.usable {
			return rootfs.ReadOverrideFrom(f.fd, f.st.Mode)
		}
		if !s.noGlimpse {
			o, recorded, err := rootfs.ReadOverrideIn(s.opened, strconv.Itoa(f.fd), f.st.Mode, true)
			if err == nil {
				return o, recorded
			}
			s.noGlimpse = true
		}
		return rootfs.ReadOverride(f.fd, f.st.Mode)
	})
}

// write writes it.
func (s *Supervisor) write(f *file, o rootfs.Override) error {
	if f.usable && rootfs.WriteOverrideTo(f.fd, f.st.Mode, o) == nil {
		return nil
	}
	if !s.noGlimpse && rootfs.WriteOverrideIn(s.opened, strconv.Itoa(f.fd), f.st.Mode, o) == nil {
		return nil
	}
	return rootfs.WriteOverride(f.fd, f.st.Mode, o)
}

// lookup finds a record in memory, where it is when its file system keeps none, or else reads it, unless that was done before.
func (s *Supervisor) lookup(st *unix.Stat_t, at spot, read func() (rootfs.Override, bool)) (rootfs.Override, bool) {
	key := inode{uint64(st.Dev), st.Ino}
	if len(s.memory) > 0 {
		if k, ok := s.memory[key]; ok {
			if k.born == at.birth(st) {
				return k.record, true
			}
			delete(s.memory, key)
		}
	}
	if outsiders(st) {
		return rootfs.Override{Mode: st.Mode & 0o7777}, true
	}
	if k, ok := s.seen[key]; ok && k.changed == st.Ctim {
		return k.record, k.recorded
	}
	o, recorded := read()
	s.see(key, st.Ctim, o, recorded)
	return o, recorded
}

// outsiders tells whether a file is a device that belongs to somebody who has no id here: the machine's, in /dev, which is root's.
func outsiders(st *unix.Stat_t) bool {
	const nobody = 65534
	return st.Uid == nobody && device(st.Mode)
}

// device tells whether a mode is a device's.
func device(mode uint32) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR || mode&unix.S_IFMT == unix.S_IFBLK
}

// sight is what was read of a file that was changed then for the last time: as records are attributes, they change with that.
type sight struct {
	changed  unix.Timespec
	record   rootfs.Override
	recorded bool
}

const (
	mostSeen = 1 << 14 // of two megabytes
	// settled is how old a file's last change must be. Clocks of file systems are coarse: what is younger may change again at
	// the same time, or be another file with the same number.
	settled = 50 * time.Millisecond
)

// see keeps what was read for the next time: programs look at the same files again and again.
func (s *Supervisor) see(key inode, changed unix.Timespec, o rootfs.Override, recorded bool) {
	if time.Since(time.Unix(changed.Sec, changed.Nsec)) < settled { //nolint:forbidigo // the kernel's clock, too
		return
	}
	if len(s.seen) >= mostSeen {
		clear(s.seen)
	}
	s.seen[key] = sight{changed, o, recorded}
}

// A spot is where a file can be looked at: a descriptor, a name in the directory of one, or with follow what a path leads to.
type spot struct {
	dir    int
	name   string
	follow bool
}

// A birth tells a file from the next one with its number.
type birth struct{ sec, nsec int64 }

// birth is when the file whose state is st was made, as far as its file system tells. Those of terminals, whose numbers are the
// first to come again, do not; but only we change their owners and permissions, so that the time of that will do.
func (p spot) birth(st *unix.Stat_t) birth {
	if device(st.Mode) {
		return birth{st.Ctim.Sec, st.Ctim.Nsec}
	}
	flags := unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW
	if p.follow {
		flags = 0
	}
	var x unix.Statx_t
	if unix.Statx(p.dir, p.name, flags, unix.STATX_BTIME, &x) != nil || x.Mask&unix.STATX_BTIME == 0 {
		return birth{}
	}
	return birth{x.Btime.Sec, int64(x.Btime.Nsec)}
}

// save writes it. Whoever is 0:0 on disk and meant to be needs none.
func (s *Supervisor) save(f *file, o rootfs.Override) error {
	key := inode{uint64(f.st.Dev), f.st.Ino}
	if o.UID == int(f.st.Uid) && o.GID == int(f.st.Gid) && o.Device == 0 {
		delete(s.memory, key)
		if f.recorded {
			rootfs.RemoveOverride(f.fd, f.st.Mode)
		}
		return nil
	}
	err := s.write(f, o)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EROFS) {
		return s.keep(key, f, o) // devpts, tmpfs of older kernels: not in the image anyway
	}
	return err
}

// mostKept bounds the records in memory (about 8 MB), which a step could fill otherwise.
const mostKept = 1 << 16

// keep keeps a record in memory.
func (s *Supervisor) keep(key inode, f *file, o rootfs.Override) error {
	if _, ok := s.memory[key]; !ok && len(s.memory) >= mostKept {
		if !s.full {
			s.o.Log.Warn("a step gave away more files on file systems without extended attributes than owners can be kept of: it gets ENOSPC from now on", "files", mostKept)
		}
		s.full = true
		return unix.ENOSPC
	}
	if err := unix.Fstat(f.fd, &f.st); err != nil {
		return err
	}
	s.memory[key] = kept{o, spot{dir: f.fd}.birth(&f.st)}
	return nil
}

// chown gives a file to uid and gid (-1 leaves one). The real chown to the ids that it has already makes the kernel clear
// setuid bits and capabilities as it would, and refuse what it would refuse.
func (c *call) chown(f *file, uid, gid int64) result {
	defer f.close()
	if !c.who().mayChown(f.meant.UID, f.meant.GID, uid, gid, c.has(unix.CAP_CHOWN)) {
		return result{errno: unix.EPERM}
	}
	if !c.valid() {
		return proceed()
	}
	if err := unix.Fchownat(f.fd, "", int(f.st.Uid), int(f.st.Gid), unix.AT_EMPTY_PATH); err != nil && !f.foreign(err) {
		return failed(err)
	}
	o := f.meant
	if uid >= 0 {
		o.UID = int(uid)
	}
	if gid >= 0 {
		o.GID = int(gid)
	}
	if f.st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 { // which may be gone now
		if err := unix.Fstat(f.fd, &f.st); err != nil {
			return failed(err)
		}
	}
	o.Mode = f.st.Mode & 0o7777
	if err := c.s.save(f, o); err != nil {
		return failed(err)
	}
	return done(0)
}

// foreign tells whether an error of chown says only that the file is none of the step's: the owner of a terminal is from outside the
// namespace, a device in /dev is on a mount that the step may not change. Both are in no image.
func (f *file) foreign(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) && f.st.Mode&unix.S_IFMT == unix.S_IFCHR
}

func (c *call) chownPath(dirfd, arg int, nofollow, empty bool) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return failed(err)
	}
	f, err := c.file(dirfd, name, nofollow, empty)
	for range 40 { // links
		if nofollow || !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ELOOP) || !c.follow(dirfd, &name) {
			break
		}
		f, err = c.file(dirfd, name, nofollow, empty)
	}
	if err != nil {
		return failed(err)
	}
	return c.chown(f, c.id(arg+1), c.id(arg+2))
}

func chown(c *call) result  { return c.chownPath(unix.AT_FDCWD, 0, false, false) }
func lchown(c *call) result { return c.chownPath(unix.AT_FDCWD, 0, true, false) }
func fchown(c *call) result {
	f, err := c.held(c.arg(0))
	if err != nil {
		return failed(err)
	}
	return c.chown(f, c.id(1), c.id(2))
}

func fchownat(c *call) result {
	flags := c.arg(4)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return result{errno: unix.EINVAL}
	}
	return c.chownPath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0)
}

// chmod changes the permissions and keeps the record in step. Without a record the kernel does it alone.
func (c *call) chmod(f *file, mode uint32) result {
	defer f.close()
	who := c.who()
	if who.uid.fs != 0 && int(who.uid.fs) != f.meant.UID {
		return result{errno: unix.EPERM}
	}
	if !f.recorded || f.st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return proceed()
	}
	if mode &= 0o7777; who.uid.fs != 0 && !who.member(f.meant.GID) {
		mode &^= unix.S_ISGID
	}
	if !c.valid() {
		return proceed()
	}
	err := unix.Chmod(own(f.fd), mode)
	switch {
	case err != nil && device(f.st.Mode) && mode == f.st.Mode&0o7777:
		return done(0) // the machine's, as it is wanted
	case err != nil:
		return failed(err)
	}
	f.meant.Mode = mode
	if err := c.s.save(f, f.meant); err != nil {
		return failed(err)
	}
	return done(0)
}

func (c *call) chmodPath(dirfd, arg int, nofollow, empty bool) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return failed(err)
	}
	f, err := c.file(dirfd, name, nofollow, empty)
	if err != nil {
		return proceed()
	}
	return c.chmod(f, uint32(c.n.args[arg+1]))
}

func chmod(c *call) result { return c.chmodPath(unix.AT_FDCWD, 0, false, false) }
func fchmod(c *call) result {
	f, err := c.held(c.arg(0))
	if err != nil {
		return proceed()
	}
	return c.chmod(f, uint32(c.n.args[1]))
}
func fchmodat(c *call) result { return c.chmodPath(c.arg(0), 1, false, false) }
func fchmodat2(c *call) result {
	flags := c.arg(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return result{errno: unix.EINVAL}
	}
	return c.chmodPath(c.arg(0), 1, flags&unix.AT_SYMLINK_NOFOLLOW != 0, flags&unix.AT_EMPTY_PATH != 0)
}

// A place is where something is to be made: a name in an open directory.
type place struct {
	dir      int
	name     string
	uid, gid int // of what is made there
	plain    bool
	// shared says that the directory hands down a group that is not the maker's.
	shared bool
}

// place finds it. The result is not nil when the kernel shall decide alone: the name is none, or what it makes there
// belongs to 0:0 anyway.
func (c *call) place(dirfd int, name string) (*place, *result) {
	p := proceed()
	dir, base := path.Split(name)
	if base == "" || base == "." || base == ".." {
		return nil, &p
	}
	at, err := c.directory(dirfd, dir)
	if err != nil {
		return nil, &p
	}
	return c.placeIn(at, base)
}

// placeIn is place in an open directory, which it takes over.
func (c *call) placeIn(at int, base string) (*place, *result) {
	p := proceed()
	f := &file{fd: at}
	if err := unix.Fstat(at, &f.st); err != nil || f.st.Mode&unix.S_IFMT != unix.S_IFDIR {
		unix.Close(at)
		return nil, &p
	}
	who := c.who()
	w := &place{dir: at, name: base, uid: int(who.uid.fs), gid: int(who.gid.fs)}
	if f.st.Mode&unix.S_ISGID != 0 {
		w.gid = int(f.st.Gid)
		if o, ok := c.s.record(f); ok {
			w.gid = o.GID
		}
	}
	w.plain = w.uid == 0 && w.gid == 0
	w.shared = f.st.Mode&unix.S_ISGID != 0 && w.uid != 0 && !who.member(w.gid)
	return w, nil
}

// mode is what the kernel makes of the permissions that somebody asks for: less the umask, unless the directory has a list of permissions
// for what is made in it, which is applied instead.
func (c *call) mode(p *place, mode uint32) uint32 {
	mode &= 0o7777
	if umask := c.umask(); mode&umask != 0 {
		if n, err := unix.Getxattr(own(p.dir), defaultACL, nil); err != nil || n == 0 {
			mode &^= umask
		}
	}
	return mode
}

// fileMode is mode for what is no directory: nobody gives a program to a group that is not theirs.
func (c *call) fileMode(p *place, mode uint32) uint32 {
	mode = c.mode(p, mode)
	if p.shared && mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP {
		mode &^= unix.S_ISGID
	}
	return mode
}

// directory opens the directory part of a name.
func (c *call) directory(dirfd int, dir string) (int, error) {
	if dir == "" {
		return c.start(dirfd)
	}
	return c.open(dirfd, dir, false, false)
}

// make makes something at a name, less what is to be cut off its end, and gives it its owner.
func (c *call) make(dirfd, arg int, cut string, device rootfs.Override, f func(p *place) error) result {
	name, err := c.text(c.n.args[arg])
	if err != nil {
		return failed(err)
	}
	p, r := c.place(dirfd, strings.TrimRight(name, cut))
	if r != nil {
		return *r
	}
	defer unix.Close(p.dir)
	if p.plain && device.Device == 0 || !c.valid() {
		return proceed()
	}
	if err := f(p); err != nil {
		return failed(err)
	}
	fd, err := unix.Openat(p.dir, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(err)
	}
	defer unix.Close(fd)
	if err := c.give(fd, p, device); err != nil {
		return failed(err)
	}
	return done(0)
}

// give records the owner of something just made.
func (c *call) give(fd int, p *place, device rootfs.Override) error {
	f := &file{fd: fd}
	if err := unix.Fstat(fd, &f.st); err != nil {
		return err
	}
	device.UID, device.GID, device.Mode = p.uid, p.gid, f.st.Mode&0o7777
	return c.s.save(f, device)
}

func (c *call) mkdir(dirfd, arg int) result {
	return c.make(dirfd, arg, "/", rootfs.Override{}, func(p *place) error {
		return unix.Mkdirat(p.dir, p.name, c.mode(p, uint32(c.n.args[arg+1])))
	})
}

func mkdir(c *call) result   { return c.mkdir(unix.AT_FDCWD, 0) }
func mkdirat(c *call) result { return c.mkdir(c.arg(0), 1) }

func (c *call) symlink(dirfd, arg int) result {
	return c.make(dirfd, arg, "", rootfs.Override{}, func(p *place) error {
		target, err := c.text(c.n.args[0])
		if err != nil {
			return err
		}
		return unix.Symlinkat(target, p.dir, p.name)
	})
}

func symlink(c *call) result   { return c.symlink(unix.AT_FDCWD, 1) }
func symlinkat(c *call) result { return c.symlink(c.arg(1), 2) }

// mknod makes what the kernel lets root of a user namespace make, and empty files with a record for devices.
func (c *call) mknod(dirfd, arg int) result {
	mode, rdev := uint32(c.n.args[arg+1]), c.n.args[arg+2]
	var device rootfs.Override
	kind := mode & unix.S_IFMT
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		if kind == unix.S_IFCHR && rdev == 0 {
			return proceed() // overlayfs's whiteout, which anybody may make
		}
		if !c.who().privileged() || !c.has(unix.CAP_MKNOD) {
			return result{errno: unix.EPERM}
		}
		device.Device, device.Rdev = kind, rdev&0xffffffff
		mode = mode&^unix.S_IFMT | unix.S_IFREG
	}
	return c.make(dirfd, arg, "", device, func(p *place) error {
		return unix.Mknodat(p.dir, p.name, mode&^0o7777|c.fileMode(p, mode), 0)
	})
}

func mknod(c *call) result   { return c.mknod(unix.AT_FDCWD, 0) }
func mknodat(c *call) result { return c.mknod(c.arg(0), 1) }

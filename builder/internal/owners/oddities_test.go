package owners

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestOddFiles: an owner belongs to the file, whatever it is called, and ends with it; all ways to give a file away are the same.
func TestOddFiles(t *testing.T) {
	expect(t, supervised(t, "files", t.TempDir(), everything), `
hard link 5:6
renamed 5:6
replaced by a rename 0:0
made again 0:0 100 times
remembered 1:1 1:1, given away 2:2, taken back 0:0, replaced 0:0 644
by the link 7:8 and the link itself 0:0
the link itself 9:10, where it leads 7:8
by a descriptor 11:12
by an O_PATH descriptor 13:14
by /proc/self/fd 15:16
the directory of a descriptor 17:18
unnamed 21:22, named 21:22
set-user-id bits gone 755
empty name <no such file or directory>
unknown flags <invalid argument>
statx 5:6, device 5:6 20666 1:3
`)
}

func filesTarget() {
	runtime.LockOSThread()
	at, cwd := unix.AT_EMPTY_PATH, unix.AT_FDCWD
	touch := func(name string) { must(os.WriteFile(name, nil, 0o644)) }
	owner := func(name string) string {
		var st unix.Stat_t
		must(unix.Lstat(name, &st))
		return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	}
	touch("/w/a")
	must(unix.Chown("/w/a", 5, 6))
	must(unix.Link("/w/a", "/w/b"))
	fmt.Println("hard link", owner("/w/b"))
	must(unix.Rename("/w/a", "/w/c"))
	fmt.Println("renamed", owner("/w/c"))
	touch("/w/n")
	must(unix.Rename("/w/n", "/w/c"))
	fmt.Println("replaced by a rename", owner("/w/c"))
	plain := 0
	for range 100 {
		touch("/w/again")
		if owner("/w/again") == "0:0" {
			plain++
		}
		must(unix.Chown("/w/again", 3, 3))
		must(unix.Unlink("/w/again"))
	}
	fmt.Println("made again 0:0", plain, "times")
	oddMemories(owner)
	must(unix.Symlink("c", "/w/l"))
	must(unix.Chown("/w/l", 7, 8))
	fmt.Printf("by the link %s and the link itself %s\n", owner("/w/c"), owner("/w/l"))
	must(unix.Fchownat(cwd, "/w/l", 9, 10, unix.AT_SYMLINK_NOFOLLOW))
	fmt.Printf("the link itself %s, where it leads %s\n", owner("/w/l"), owner("/w/c"))
	fd, err := unix.Open("/w/c", unix.O_RDWR, 0)
	must(err)
	must(unix.Fchown(fd, 11, 12))
	fmt.Println("by a descriptor", owner("/w/c"))
	path, err := unix.Open("/w/c", unix.O_PATH, 0)
	must(err)
	must(unix.Fchownat(path, "", 13, 14, at))
	fmt.Println("by an O_PATH descriptor", owner("/w/c"))
	must(unix.Chown(fmt.Sprintf("/proc/self/fd/%d", path), 15, 16))
	fmt.Println("by /proc/self/fd", owner("/w/c"))
	dir, err := unix.Open("/w", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(err)
	must(unix.Fchownat(dir, "c", 17, 18, 0))
	fmt.Println("the directory of a descriptor", owner("/w/c"))
	oddCreations(owner)
	must(unix.Chmod("/w/c", 0o6755))
	must(unix.Chown("/w/c", 0, 0))
	var st unix.Stat_t
	must(unix.Stat("/w/c", &st))
	fmt.Printf("set-user-id bits gone %o\n", st.Mode&0o7777)
	fmt.Printf("empty name <%v>\n", unix.Fchownat(fd, "", 1, 1, 0))
	fmt.Printf("unknown flags <%v>\n", unix.Fchownat(fd, "", 1, 1, unix.AT_EMPTY_PATH|0x4000))
	oddViews()
}

// oddMemories looks at files that have not changed for so long that they are remembered.
func oddMemories(owner func(string) string) {
	must(os.WriteFile("/w/m", nil, 0o644))
	must(os.WriteFile("/w/m2", nil, 0o644))
	must(unix.Chown("/w/m", 1, 1))
	time.Sleep(2 * settled)
	fmt.Print("remembered ", owner("/w/m"), " ", owner("/w/m"))
	owner("/w/m2")
	must(unix.Chown("/w/m", 2, 2))
	fmt.Print(", given away ", owner("/w/m"))
	time.Sleep(2 * settled)
	owner("/w/m")
	must(unix.Chown("/w/m", 0, 0))
	fmt.Print(", taken back ", owner("/w/m"))
	must(unix.Rename("/w/m2", "/w/m"))
	var st unix.Stat_t
	must(unix.Stat("/w/m", &st))
	fmt.Printf(", replaced %s %o\n", owner("/w/m"), st.Mode&0o7777)
}

// oddCreations makes a file without a name as somebody, and names it.
func oddCreations(owner func(string) string) {
	_, _ = unix.SetfsgidRetGid(22)
	_, _ = unix.SetfsuidRetUid(21)
	fd, err := unix.Open("/w", unix.O_TMPFILE|unix.O_RDWR, 0o600)
	must(err)
	var st unix.Stat_t
	must(unix.Fstat(fd, &st))
	must(unix.Linkat(fd, "", unix.AT_FDCWD, "/w/named", unix.AT_EMPTY_PATH))
	_, _ = unix.SetfsuidRetUid(0)
	_, _ = unix.SetfsgidRetGid(0)
	fmt.Printf("unnamed %d:%d, named %s\n", st.Uid, st.Gid, owner("/w/named"))
}

func oddViews() {
	var x, d unix.Statx_t
	must(unix.Statx(unix.AT_FDCWD, "/w/b", unix.AT_SYMLINK_NOFOLLOW, unix.STATX_UID|unix.STATX_GID, &x))
	must(unix.Mknod("/w/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(unix.Chmod("/w/null", 0o666))
	must(unix.Chown("/w/null", 5, 6))
	fd, err := unix.Open("/w/null", unix.O_PATH, 0)
	must(err)
	must(unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &d))
	fmt.Printf("statx %d:%d, device %d:%d %o %d:%d\n", x.Uid, x.Gid, d.Uid, d.Gid, d.Mode, d.Rdev_major, d.Rdev_minor)
}

// TestDaemons: whoever becomes somebody and leaves its parent, its session and its group stays who it is.
func TestDaemons(t *testing.T) {
	expect(t, supervised(t, "daemons", t.TempDir(), everything), `
a daemon is 77
a job is 77
a thread's program is 78
`)
}

func daemonsTarget() {
	runtime.LockOSThread()
	for _, how := range []string{"daemon", "job"} {
		must(forked(func() { // somebody's process, which starts another and goes
			sys(unix.SYS_SETRESUID, 77, 77, 77)
			leave(how)
		}))
	}
	for range 2000 {
		daemon, err1 := os.ReadFile("/w/daemon")
		job, err2 := os.ReadFile("/w/job")
		if err1 == nil && err2 == nil && len(daemon) == 4 && len(job) == 4 {
			fmt.Println("a daemon is", binary.NativeEndian.Uint32(daemon))
			fmt.Println("a job is", binary.NativeEndian.Uint32(job))
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	out, err := (&exec.Cmd{Path: "/target", Args: []string{"/target"}, Env: []string{targetVar + "=threadexec"}}).CombinedOutput()
	must(err)
	fmt.Print(string(out))
}

// threadExecTarget executes something on another thread than the first, as somebody that only that thread is.
func threadExecTarget() {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			go threadExecTarget() // not this one
			select {}
		}
		_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, 78, 78, 78)
		must(unix.Exec("/target", []string{"/target"}, []string{targetVar + "=whoami"}))
	}()
	select {}
}

func whoamiTarget() { fmt.Println("a thread's program is", os.Getuid()) }

// The children of forked are no Go programs any more: they make system calls only.

func sys(nr, a, b, c uintptr) uintptr {
	r, _, _ := unix.RawSyscall6(nr, a, b, c, 0, 0, 0)
	return r
}

//go:norace
func forked(child func()) error {
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	if pid == 0 {
		child()
		sys(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	_, err := unix.Wait4(int(pid), nil, 0, nil)
	return err
}

// leave starts a process that nobody has seen, in another session or group. It waits until its parent is gone before it makes
// its first call that the supervisor answers, and writes who it is to a file.
func leave(how string) {
	name := append([]byte("/w/"+how), 0)
	pid := sys(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if how == "job" && pid != 0 {
		sys(unix.SYS_SETPGID, pid, pid, 0)
	}
	if pid != 0 {
		return
	}
	pause := unix.Timespec{Nsec: 50e6}
	sys(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
	if how == "daemon" {
		sys(unix.SYS_SETSID, 0, 0, 0)
	}
	id := uint32(sys(unix.SYS_GETUID, 0, 0, 0))
	fd := sys(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&name[0])), unix.O_CREAT|unix.O_WRONLY)
	sys(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(&id)), 4)
	sys(unix.SYS_EXIT_GROUP, 0, 0, 0)
}

// TestForeign: calls that the filter does not know, of other ABIs and through io_uring, do not pass by.
func TestForeign(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("another ABI is made for amd64 only")
	}
	expect(t, supervised(t, "foreign", t.TempDir(), everything), `
i386: function not implemented
x32: function not implemented
io_uring: function not implemented
owner 0:0
`)
}

func foreignTarget() {
	must(os.WriteFile("/w/f", nil, 0o644))
	// chown("/w/f", 5, 6), exit(-result)
	const load = "\xbe\x05\x00\x00\x00" + "\xba\x06\x00\x00\x00" // mov esi, 5; mov edx, 6
	const end = "\x89\xc7\xf7\xdf\xb8\x3c\x00\x00\x00\x0f\x05"   // mov edi, eax; neg edi; mov eax, 60; syscall
	i386 := "\xb8\xd4\x00\x00\x00" + "\xbb" + path32 + "\xb9\x05\x00\x00\x00" + "\xba\x06\x00\x00\x00" + "\xcd\x80"
	x32 := "\xb8\x5c\x00\x00\x40" + "\xbf" + path32 + load + "\x0f\x05"
	for i, code := range []string{i386, x32} {
		name := []string{"i386", "x32"}[i]
		must(os.WriteFile("/w/"+name, program(code+end), 0o755))
		err := exec.Command("/w/" + name).Run()
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && exit.ExitCode() > 0:
			err = unix.Errno(exit.ExitCode())
		case err != nil && strings.Contains(err.Error(), "segmentation fault"):
			err = unix.ENOSYS // a kernel without that ABI
		}
		fmt.Printf("%s: %v\n", name, err)
	}
	var params [120]byte
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params[0])), 0)
	fmt.Println("io_uring:", errno)
	var st unix.Stat_t
	must(unix.Stat("/w/f", &st))
	fmt.Printf("owner %d:%d\n", st.Uid, st.Gid)
}

// The programs of foreignTarget are loaded at 0x400000; the path is behind the headers.
const (
	headers = 64 + 56
	path32  = "\x78\x00\x40\x00"
)

// program is a static ELF executable without anything but code.
func program(code string) []byte {
	body := "/w/f\x00\x00\x00\x00" + code
	b := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	le := binary.LittleEndian
	b = le.AppendUint16(le.AppendUint16(b, 2), 62) // an executable, for amd64
	b = le.AppendUint32(b, 1)
	for _, v := range []uint64{0x400000 + headers + 8, 64, 0} { // entry, program headers, sections
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	b = le.AppendUint32(le.AppendUint32(b, 1), 5) // loaded, to be read and executed
	size := uint64(headers + len(body))
	for _, v := range []uint64{0, 0x400000, 0x400000, size, size, 0x1000} {
		b = le.AppendUint64(b, v)
	}
	return append(b, body...)
}

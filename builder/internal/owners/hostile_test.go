package owners

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestRaces: a program swaps its arguments, and directories for links, while the supervisor looks at them. Nothing outside its
// root may change, and the test must see that the program did win look-ups.
func TestRaces(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.Mkdir(outside, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "f"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	before := state(t, outside)
	text := supervised(t, "races", dir, everything)
	var won, lost int
	if _, err := fmt.Sscanf(text, "inside %d, outside %d", &won, &lost); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	t.Logf("look-ups inside %d, outside %d", won, lost)
	if won == 0 || lost == 0 {
		t.Errorf("the attacker never won: %s", text)
	}
	if after := state(t, outside); after != before {
		t.Errorf("changed outside:\n%s\nwas\n%s", after, before)
	}
}

// state describes a directory with everything that a call about owners could change.
func state(t *testing.T, dir string) string {
	t.Helper()
	text := ""
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		b := make([]byte, 1024)
		n, err := unix.Llistxattr(path, b)
		text += fmt.Sprintf("%s %o %d:%d %v %q\n", path, st.Mode, st.Uid, st.Gid, st.Ctim, b[:n])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// racesTarget makes the calls with a path that other threads change, on a tree that another one changes.
func racesTarget() {
	must(os.Mkdir("/w/d", 0o755))
	must(os.WriteFile("/w/d/f", nil, 0o644))
	must(os.Symlink("../../../outside", "/w/link"))
	names := [][]byte{[]byte("/w/d/f\x00"), []byte("/w/../../outside/f\x00"), []byte("../../../../outside/f\x00"), []byte("/proc/1/root/../outside/f\x00")}
	buf := make([]byte, 64)
	copy(buf, names[0])
	var stop atomic.Bool
	go func() {
		for i := 0; !stop.Load(); i++ {
			for j, b := range names[i%2*(i/2%len(names))] { // torn writes on purpose: no lock can exist between a program and the kernel
				*(*byte)(unsafe.Add(unsafe.Pointer(&buf[0]), j)) = b
			}
		}
	}()
	go func() {
		for !stop.Load() {
			_ = unix.Renameat2(unix.AT_FDCWD, "/w/d", unix.AT_FDCWD, "/w/link", unix.RENAME_EXCHANGE)
		}
	}()
	in, out := 0, 0
	for range 20 {
		a, b := attack(buf, 1500)
		in, out = in+a, out+b
		if in > 0 && out > 0 {
			break
		}
	}
	stop.Store(true)
	fmt.Printf("inside %d, outside %d\n", in, out)
}

// attack makes calls of each kind and counts how many found a file.
func attack(buf []byte, times int) (in, out int) {
	runtime.LockOSThread()
	p, at := uintptr(unsafe.Pointer(&buf[0])), ^uintptr(99) // AT_FDCWD
	st := make([]byte, 512)
	s, name := uintptr(unsafe.Pointer(&st[0])), append([]byte("user.x"), 0)
	x := uintptr(unsafe.Pointer(&name[0]))
	for i := range times {
		var errno unix.Errno
		switch i % 8 {
		case 0:
			_, _, errno = unix.Syscall6(unix.SYS_FCHOWNAT, at, p, uintptr(i), 6, 0, 0)
		case 1:
			_, _, errno = unix.Syscall6(unix.SYS_FCHMODAT, at, p, 0o4755, 0, 0, 0)
		case 2:
			_, _, errno = unix.Syscall6(sysFstatat, at, p, s, 0, 0, 0)
		case 3:
			_, _, errno = unix.Syscall6(unix.SYS_STATX, at, p, 0, 0xfff, s, 0)
		case 4:
			_, _, errno = unix.Syscall6(unix.SYS_SETXATTR, p, x, s, 1, 0, 0)
		case 5:
			_, _, errno = unix.Syscall6(unix.SYS_MKNODAT, at, p, unix.S_IFCHR|0o666, 0x103, 0, 0)
		case 6: // as somebody: the supervisor makes the file
			_, _, _ = unix.Syscall(unix.SYS_SETFSUID, 7, 0, 0)
			var fd uintptr
			if fd, _, errno = unix.Syscall6(unix.SYS_OPENAT, at, p, unix.O_CREAT|unix.O_RDWR, 0o600, 0, 0); errno == 0 {
				unix.Close(int(fd))
			}
			_, _, _ = unix.Syscall(unix.SYS_MKDIRAT, at, p, 0o700)
			_, _, _ = unix.Syscall(unix.SYS_SYMLINKAT, x, at, p)
			_, _, _ = unix.Syscall(unix.SYS_SETFSUID, 0, 0, 0)
		case 7:
			_, _, errno = unix.Syscall6(unix.SYS_LISTXATTR, p, s, 512, 0, 0, 0)
		}
		if errno == 0 || errno == unix.EEXIST {
			in++
		} else {
			out++
		}
	}
	return in, out
}

// TestDeaths: processes that die while their call is answered leave the supervisor at work.
func TestDeaths(t *testing.T) {
	expect(t, supervised(t, "deaths", t.TempDir(), everything), "killed 60\nowner 3:4")
}

func deathsTarget() {
	must(os.WriteFile("/w/f", nil, 0o644))
	must(os.WriteFile("/w/mine", nil, 0o644))
	for i := range 60 {
		p, err := os.StartProcess("/target", []string{"/target"}, &os.ProcAttr{Env: []string{targetVar + "=dying"}, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
		must(err)
		time.Sleep(time.Duration(5+i%10) * time.Millisecond)
		must(p.Kill())
		_, err = p.Wait()
		must(err)
	}
	fmt.Println("killed 60")
	must(unix.Chown("/w/mine", 3, 4))
	var st unix.Stat_t
	must(unix.Stat("/w/mine", &st))
	fmt.Printf("owner %d:%d\n", st.Uid, st.Gid)
}

// dyingTarget makes calls from several threads until it is killed.
func dyingTarget() {
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				_ = unix.Chown("/w/f", i%100, i%100)
				_ = unix.Setgroups([]int{i % 1000, 5})
				_ = unix.Mkdir(fmt.Sprintf("/w/%d-%d", os.Getpid(), i), 0o700)
			}
		}()
	}
	select {}
}

// TestSignals sends the supervisor signals while it hands over files that it has made: the Go runtime does so, and terminals.
func TestSignals(t *testing.T) {
	var stop atomic.Bool
	var sent sync.WaitGroup
	sent.Go(func() {
		for !stop.Load() {
			threads, _ := os.ReadDir("/proc/self/task")
			for _, thread := range threads {
				if tid, err := strconv.Atoi(thread.Name()); err == nil {
					_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG)
				}
			}
		}
	})
	out := supervised(t, "made", t.TempDir(), everything)
	stop.Store(true)
	sent.Wait()
	if out != "wrong 0\n" {
		t.Error(out)
	}
}

// madeTarget makes files as somebody else than root and counts those that are not what was asked for.
func madeTarget() {
	must(unix.Chmod("/w", 0o777))
	must(unix.Setresuid(70, 70, 70))
	wrong := 0
	for i := range 3000 {
		name := fmt.Sprint("/w/made", i)
		fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600)
		if err == nil {
			err = unix.Fchmod(fd, 0o640)
		}
		if err != nil {
			fmt.Println(i, fd, err)
			wrong++
		}
		unix.Close(fd)
	}
	fmt.Println("wrong", wrong)
}

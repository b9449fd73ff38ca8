package owners

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The variables that make this test binary a supervised program.
const (
	targetVar = "OWNERS_TARGET" // which of the targets
	stageVar  = "OWNERS_STAGE"  // "filter" loads the filter, "run" is the program
)

// targets are the programs. They run as root of a directory of their own, in which they can do what they like, and print what they find.
func targets(name string) func() {
	return map[string]func(){
		"attributes": attributesTarget, "sockets": socketsTarget, "threads": threadsTarget, "races": racesTarget, "deaths": deathsTarget, "connect": connectTarget, "dying": dyingTarget, "looks": looksTarget,
		"files": filesTarget, "daemons": daemonsTarget, "threadexec": threadExecTarget, "whoami": whoamiTarget, "foreign": foreignTarget, "made": madeTarget,
	}[name]
}

func TestMain(m *testing.M) {
	switch f := targets(os.Getenv(targetVar)); {
	case f == nil:
		os.Exit(m.Run())
	case os.Getenv(stageVar) == "filter":
		must(becomeTarget())
	default:
		f()
	}
}

func must(err error) {
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// becomeTarget loads the filter for this process and starts it again.
func becomeTarget() error {
	runtime.LockOSThread()
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	raw := Filter()
	prog := unix.SockFprog{Len: uint16(len(raw) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	if err := unix.Sendmsg(3, []byte{1}, unix.UnixRights(int(fd)), nil, 0); err != nil {
		return err
	}
	unix.Close(int(fd))
	unix.Close(3)
	return unix.Exec("/target", []string{"/target"}, []string{targetVar + "=" + os.Getenv(targetVar)})
}

// supervised runs a target below dir/root and returns what it printed. The supervisor must end by itself.
func supervised(t testing.TB, name, dir string, caps uint64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, which the supervisor is in its user namespace")
	}
	if err := os.Mkdir(filepath.Join(dir, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyTest(t, filepath.Join(dir, "root", "target"))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	var out bytes.Buffer
	theirs := os.NewFile(uintptr(pair[1]), "theirs")
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"target"}, Dir: filepath.Join(dir, "root"), Env: []string{targetVar + "=" + name, stageVar + "=filter"},
		ExtraFiles: []*os.File{theirs}, Stdout: &out, Stderr: &out, SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL},
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no process can be started in a pid namespace: ", err)
	}
	theirs.Close()
	served := make(chan error, 1)
	go func() { served <- serveFrom(pair[0], cmd.Process.Pid, caps) }()
	time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func serveFrom(socket, pid int, caps uint64) error {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return fmt.Errorf("no listener: %w", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return err
	}
	sup, err := New(fds[0], pid, Options{Caps: caps, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	return sup.Serve()
}

func copyTest(t testing.TB, to string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"dev", "w"} {
		if err := os.Mkdir(filepath.Join(filepath.Dir(to), d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(to), "dev/null"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

// expect compares line by line, so that a failure says where.
func expect(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

const everything = 1<<63 - 1

// TestAttributes: records are no attributes of the step's files.
func TestAttributes(t *testing.T) {
	dir := t.TempDir()
	expect(t, supervised(t, "attributes", dir, everything), `
owner 5:6
list 0 ""
list 11 "user.other\x00"
size 11
small numerical result out of range
set record operation not supported
set aside operation not supported
remove record operation not supported
link list 0 ""
link set operation not supported
other abc
owner 5:6
mode 640
stranger operation not permitted
`)
	var b [64]byte
	n, err := unix.Getxattr(filepath.Join(dir, "root/w/f"), "user.containers.override_stat", b[:])
	if err != nil || string(b[:n]) != "5:6:0640" {
		t.Errorf("the record on disk is %q, %v", b[:n], err)
	}

}

func attributesTarget() {
	runtime.LockOSThread()
	const record = "user.containers.override_stat"
	must(os.WriteFile("/w/f", nil, 0o644))
	must(unix.Chown("/w/f", 5, 6))
	owner := func() {
		var st unix.Stat_t
		must(unix.Stat("/w/f", &st))
		fmt.Printf("owner %d:%d\n", st.Uid, st.Gid)
	}
	list := func(what string, f func([]byte) (int, error)) {
		b := make([]byte, 4096)
		n, err := f(b)
		must(err)
		fmt.Printf("%s %d %q\n", what, n, b[:n])
	}
	owner()
	list("list", func(b []byte) (int, error) { return unix.Listxattr("/w/f", b) })
	must(unix.Setxattr("/w/f", "user.other", []byte("abc"), 0))
	fd, err := unix.Open("/w/f", unix.O_RDWR, 0)
	must(err)
	list("list", func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	n, err := unix.Llistxattr("/w/f", nil)
	must(err)
	fmt.Println("size", n)
	_, err = unix.Listxattr("/w/f", make([]byte, 3))
	fmt.Println("small", err)
	fmt.Println("set record", unix.Setxattr("/w/f", record, []byte("0:0:644:block-8-0"), 0))
	fmt.Println("set aside", unix.Fsetxattr(fd, "user.slipway.owner.x", []byte("0:0:644"), 0))
	fmt.Println("remove record", unix.Lremovexattr("/w/f", record))
	must(unix.Symlink("f", "/w/l"))
	must(unix.Lchown("/w/l", 7, 8))
	list("link list", func(b []byte) (int, error) { return unix.Llistxattr("/w/l", b) })
	fmt.Println("link set", unix.Lsetxattr("/w/l", "security.capability", make([]byte, 20), 0))
	b := make([]byte, 10)
	n, err = unix.Getxattr("/w/f", "user.other", b)
	must(err)
	fmt.Printf("other %s\n", b[:n])
	owner()
	acl := []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff") // u::rw,g::r,o::
	must(unix.Fsetxattr(fd, "system.posix_acl_access", acl, 0))
	var st unix.Stat_t
	must(unix.Fstat(fd, &st))
	fmt.Printf("mode %o\n", st.Mode&0o7777)
	_, _ = unix.SetfsuidRetUid(9)
	fmt.Println("stranger", unix.Setxattr("/w/f", "system.posix_acl_access", acl, 0))
}

// TestSockets: a server learns who its client believes to be.
func TestSockets(t *testing.T) {
	expect(t, supervised(t, "sockets", t.TempDir(), everything), `
pair 1 0:0
permissions of a server's <nil>
client 77:78 true
groups [5 6]
too small numerical result out of range 8
`)
}

func socketsTarget() {
	runtime.LockOSThread()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	cred, err := unix.GetsockoptUcred(pair[0], unix.SOL_SOCKET, unix.SO_PEERCRED)
	must(err)
	fmt.Printf("pair %d %d:%d\n", cred.Pid, cred.Uid, cred.Gid)
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	must(unix.Bind(s, &unix.SockaddrUnix{Name: "/w/socket"}))
	must(unix.Listen(s, 1))
	_, _ = unix.SetfsuidRetUid(9)
	fmt.Println("permissions of a server's", unix.Chmod("/w/socket", 0o770))
	_, _ = unix.SetfsuidRetUid(0)
	cmd := &exec.Cmd{Path: "/target", Args: []string{"/target"}, Env: []string{targetVar + "=connect"}, Stdout: os.Stdout}
	out, err := cmd.StdinPipe()
	must(err)
	must(cmd.Start())
	client, _, err := unix.Accept(s)
	must(err)
	cred, err = unix.GetsockoptUcred(client, unix.SOL_SOCKET, unix.SO_PEERCRED)
	must(err)
	fmt.Printf("client %d:%d %v\n", cred.Uid, cred.Gid, int(cred.Pid) == cmd.Process.Pid)
	groups := make([]uint32, 4)
	size := uint32(16)
	option := func() error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(client), unix.SOL_SOCKET, unix.SO_PEERGROUPS, uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	must(option())
	fmt.Println("groups", groups[:size/4])
	size = 4
	fmt.Println("too small", option(), size)
	out.Close()
	must(cmd.Wait())
}

// connectTarget is the client: it becomes somebody and waits until it is let go.
func connectTarget() {
	must(unix.Setgroups([]int{5, 6}))
	must(unix.Setgid(78))
	must(unix.Setuid(77))
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	must(unix.Connect(s, &unix.SockaddrUnix{Name: "/w/socket"}))
	_, _ = io.ReadAll(os.Stdin)
}

// TestThreads: each of many threads is who it made itself, and they cost the supervisor no descriptor each.
func TestThreads(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	tight := limit
	tight.Cur = min(limit.Cur, 100)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	expect(t, supervised(t, "threads", t.TempDir(), everything), "right 300 of 300")
}

func threadsTarget() {
	const many = 300
	all, right := make(chan struct{}), make(chan bool)
	for i := range many {
		go func() {
			runtime.LockOSThread()
			leader := unix.Gettid() == os.Getpid()
			if !leader { // new threads are who it is
				_, _, _ = unix.RawSyscall(unix.SYS_SETRESUID, uintptr(i+1), uintptr(i+1), uintptr(i+1)) // this thread alone
			}
			<-all
			uid, _, _ := unix.RawSyscall(unix.SYS_GETUID, 0, 0, 0)
			right <- int(uid) == i+1 || leader
			select {}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	close(all)
	n := 0
	for range many {
		if <-right {
			n++
		}
	}
	fmt.Printf("right %d of %d\n", n, many)
}

package owners

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BenchmarkCalls measures what one supervised call of each kind costs, in processor time of both sides.
func BenchmarkCalls(b *testing.B) {
	for range b.N {
		before := spent(unix.RUSAGE_SELF) + spent(unix.RUSAGE_CHILDREN)
		b.Log("\n" + supervised(b, "looks", b.TempDir(), everything))
		b.ReportMetric(float64(spent(unix.RUSAGE_SELF)+spent(unix.RUSAGE_CHILDREN)-before)/float64(time.Microsecond)/float64(looks*len(lookKinds())), "cpu-µs/call")
	}
}

// looks is how often each call is made.
const looks = 20000

func spent(who int) time.Duration {
	var u unix.Rusage
	must(unix.Getrusage(who, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A lookKind is a call to be measured.
type lookKind struct {
	name string
	call func() unix.Errno
}

func lookKinds() []lookKind {
	st, at := new(unix.Stat_t), ^uintptr(99) // AT_FDCWD
	stat := func(dir uintptr, name string, flags uintptr) func() unix.Errno {
		b := append([]byte(name), 0)
		return func() unix.Errno {
			_, _, errno := unix.RawSyscall6(sysFstatat, dir, uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(st)), flags, 0, 0)
			return errno
		}
	}
	dir, _ := unix.Open("/w/sub", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	fd, _ := unix.Open("/w/sub/open", unix.O_RDONLY, 0)
	return []lookKind{
		{"getuid", func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_GETUID, 0, 0, 0)
			return errno
		}},
		{"absolute, plain", stat(at, "/w/sub/plain", 0)},
		{"absolute, recorded", stat(at, "/w/sub/given", 0)},
		{"relative, plain", stat(at, "sub/plain", 0)},
		{"in a directory, plain", stat(uintptr(dir), "plain", unix.AT_SYMLINK_NOFOLLOW)},
		{"in a directory, recorded", stat(uintptr(dir), "given", unix.AT_SYMLINK_NOFOLLOW)},
		{"open, plain", func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0)
			return errno
		}},
		{"absent", func() unix.Errno { stat(at, "/w/sub/absent", 0)(); return 0 }},
		{"chown by descriptor", func() unix.Errno {
			_, _, errno := unix.RawSyscall(unix.SYS_FCHOWN, uintptr(fd), 5, 6)
			return errno
		}},
		{"chown", func() unix.Errno {
			b := []byte("/w/sub/given\x00")
			_, _, errno := unix.RawSyscall6(unix.SYS_FCHOWNAT, at, uintptr(unsafe.Pointer(&b[0])), 5, 6, 0, 0)
			return errno
		}},
	}
}

func looksTarget() {
	runtime.LockOSThread()
	must(os.Mkdir("/w/sub", 0o755))
	must(os.WriteFile("/w/sub/plain", nil, 0o644))
	must(os.WriteFile("/w/sub/given", nil, 0o644))
	must(os.WriteFile("/w/sub/open", nil, 0o644))
	must(unix.Chown("/w/sub/given", 5, 6))
	must(os.Chdir("/w"))
	for _, k := range lookKinds() {
		best := time.Hour
		for range 100 { // short, so that some are of a quiet machine
			begun := time.Now()
			for range looks / 100 {
				if errno := k.call(); errno != 0 {
					must(fmt.Errorf("%s: %w", k.name, errno))
				}
			}
			best = min(best, time.Since(begun))
		}
		fmt.Printf("%-26s %6.2f µs\n", k.name, float64(best.Nanoseconds())/1000/(looks/100))
	}
}

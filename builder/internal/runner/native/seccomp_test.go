package native

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner/native/seccomp"
)

// call is what a filter sees of a system call.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// filter runs a program as the kernel does.
func filter(t *testing.T, raw []byte, c call) uint32 {
	t.Helper()
	prog := make([]unix.SockFilter, len(raw)/8)
	if err := binary.Read(bytes.NewReader(raw), binary.NativeEndian, prog); err != nil {
		t.Fatal(err)
	}
	var data bytes.Buffer
	for _, v := range []any{c.nr, c.arch, uint64(0), c.args} {
		if err := binary.Write(&data, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	var acc uint32
	for pc := 0; ; pc++ {
		if pc >= len(prog) {
			t.Fatal("the filter ran off its end")
		}
		in := prog[pc]
		jump := func(ok bool) {
			if ok {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data.Bytes()[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			jump(acc > in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump(acc >= in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %x", in.Code)
		}
	}
}

func TestCompile(t *testing.T) {
	t.Parallel()
	errno := uint(38)
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		{Names: []string{"mount", "no_such_call"}, Action: specs.ActErrno},
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &errno},
		{Names: []string{"clone"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: unix.CLONE_NEWUSER, ValueTwo: unix.CLONE_NEWUSER, Op: specs.OpMaskedEqual}}},
		{Names: []string{"personality"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 8, Op: specs.OpNotEqual}}},
		{Names: []string{"socket"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 40, Op: specs.OpEqualTo}, {Index: 1, Value: 1 << 40, Op: specs.OpEqualTo}}},
	}}
	raw, err := seccomp.Compile(profile, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if unix.SYS_MOUNT != 165 {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	const allow, eperm, enosys = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_ERRNO | 1, unix.SECCOMP_RET_ERRNO | 38
	for name, c := range map[string]struct {
		call call
		want uint32
	}{
		"other":          {call{nr: unix.SYS_READ, arch: arch}, allow},
		"mount":          {call{nr: unix.SYS_MOUNT, arch: arch}, eperm},
		"clone3":         {call{nr: unix.SYS_CLONE3, arch: arch}, enosys},
		"thread":         {call{nr: unix.SYS_CLONE, arch: arch, args: [6]uint64{unix.CLONE_VM}}, allow},
		"namespace":      {call{nr: unix.SYS_CLONE, arch: arch, args: [6]uint64{unix.CLONE_NEWUSER | 17}}, eperm},
		"equal":          {call{nr: unix.SYS_PERSONALITY, arch: arch, args: [6]uint64{8}}, allow},
		"not equal":      {call{nr: unix.SYS_PERSONALITY, arch: arch, args: [6]uint64{9}}, eperm},
		"upper half":     {call{nr: unix.SYS_PERSONALITY, arch: arch, args: [6]uint64{1<<32 | 8}}, eperm},
		"both arguments": {call{nr: unix.SYS_SOCKET, arch: arch, args: [6]uint64{40, 1 << 40}}, eperm},
		"one of two":     {call{nr: unix.SYS_SOCKET, arch: arch, args: [6]uint64{40, 1}}, allow},
		"foreign ABI":    {call{nr: unix.SYS_READ, arch: 1}, unix.SECCOMP_RET_KILL_PROCESS},
		"x32":            {call{nr: 0x40000000 | 1, arch: arch}, enosys},
	} {
		if got := filter(t, raw, c.call); got != c.want {
			t.Errorf("%s: got %x, want %x", name, got, c.want)
		}
	}
	profile.Syscalls[0].Action = "SCMP_ACT_WHAT"
	if _, err := seccomp.Compile(profile, runtime.GOARCH); err == nil {
		t.Error("an unknown action was taken")
	}
}

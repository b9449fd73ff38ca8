package seccomp

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// call is what a filter sees of a system call.
type call struct {
	arch, nr uint32
	args     [6]uint64
}

// run interprets a program as the kernel would, and fails the test where the kernel would refuse it.
func run(t *testing.T, prog []unix.SockFilter, c call) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.LittleEndian.PutUint32(data[0:], c.nr)
	binary.LittleEndian.PutUint32(data[4:], c.arch)
	for i, a := range c.args {
		binary.LittleEndian.PutUint64(data[16+8*i:], a)
	}
	var acc uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		branch := func(yes bool) {
			if yes {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = binary.LittleEndian.Uint32(data[in.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			branch(acc == in.K)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			branch(acc > in.K)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			branch(acc >= in.K)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program runs off its end")
	return 0
}

// want is the meaning of a profile, said without instructions.
func want(p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	for _, r := range p.Syscalls {
		if slices.Contains(r.Names, name) && holds(r.Args, args) {
			a, _ := action(r.Action, r.ErrnoRet)
			return a
		}
	}
	a, _ := action(p.DefaultAction, p.DefaultErrnoRet)
	return a
}

func holds(conds []specs.LinuxSeccompArg, args [6]uint64) bool {
	all, some := true, false
	for _, c := range conds {
		v := args[c.Index]
		ok := map[specs.LinuxSeccompOperator]bool{
			specs.OpEqualTo: v == c.Value, specs.OpNotEqual: v != c.Value, specs.OpLessThan: v < c.Value, specs.OpLessEqual: v <= c.Value,
			specs.OpGreaterThan: v > c.Value, specs.OpGreaterEqual: v >= c.Value, specs.OpMaskedEqual: v&c.Value == c.ValueTwo,
		}[c.Op]
		all, some = all && ok, some || ok
	}
	if repeated(conds) {
		return some
	}
	return all
}

func profile() *specs.LinuxSeccomp {
	enosys, einval := uint(unix.ENOSYS), uint(unix.EINVAL)
	p := &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &enosys, Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchARM},
		Syscalls: []specs.LinuxSyscall{
			{Names: []string{"read", "write", "open", "close", "openat", "exit", "no_such_call"}, Action: specs.ActAllow},
			{Names: []string{"read"}, Action: specs.ActKillProcess}, // too late
			{Names: []string{"socket"}, Action: specs.ActErrno, ErrnoRet: &einval, Args: []specs.LinuxSeccompArg{
				{Index: 0, Op: specs.OpMaskedEqual, Value: 0xffffffff, ValueTwo: 40}}},
			{Names: []string{"socket"}, Action: specs.ActAllow},
			{Names: []string{"ptrace"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpLessThan, Value: 4}, {Index: 2, Op: specs.OpNotEqual, Value: 9}}},
		},
	}
	for i, op := range []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpGreaterThan, specs.OpGreaterEqual} {
		name := []string{"mmap", "kill", "tkill", "tgkill", "prctl", "ioctl"}[i]
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{name}, Action: specs.ActLog,
			Args: []specs.LinuxSeccompArg{{Index: uint(i), Op: op, Value: 0x5_00000007}}})
	}
	var many []specs.LinuxSeccompArg // alternatives, and longer than a short jump
	for v := range uint64(90) {
		many = append(many, specs.LinuxSeccompArg{Index: 1, Op: specs.OpEqualTo, Value: v * 3})
	}
	p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"fcntl"}, Action: specs.ActTrap, Args: many})
	return p
}

func TestProgramMeansTheProfile(t *testing.T) {
	t.Parallel()
	p := profile()
	values := []uint64{0, 3, 4, 7, 8, 9, 40, 267, 0xffffffff, 0x5_00000006, 0x5_00000007, 0x5_00000008, 0x4_00000009, 0x6_00000001, 1<<40 | 40, ^uint64(0)}
	for _, goarch := range []string{"amd64", "arm64"} {
		prog, err := program(p, goarch)
		if err != nil {
			t.Fatal(err)
		}
		list, err := abis(goarch, p.Architectures)
		if err != nil || len(list) != 2 {
			t.Fatalf("%s: %d ABIs, %v", goarch, len(list), err)
		}
		for _, a := range list {
			for name, nr := range numbers(a.column) {
				for i, v := range values {
					c := call{arch: a.audit, nr: nr}
					for j := range c.args {
						c.args[j] = values[(i+j)%len(values)]
					}
					c.args[i%6] = v
					if got, w := run(t, prog, c), want(p, name, c.args); got != w {
						t.Fatalf("%s column %d: %s%#x: %#x, want %#x", goarch, a.column, name, c.args, got, w)
					}
				}
			}
		}
	}
}

func TestStrangeCalls(t *testing.T) {
	t.Parallel()
	prog, err := program(profile(), "amd64")
	if err != nil {
		t.Fatal(err)
	}
	const errno = unix.SECCOMP_RET_ERRNO
	for _, c := range []struct {
		call call
		want uint32
	}{
		{call{arch: unix.AUDIT_ARCH_X86_64, nr: 9999}, errno | uint32(unix.ENOSYS)},
		{call{arch: unix.AUDIT_ARCH_X86_64, nr: x32}, errno | uint32(unix.ENOSYS)}, // read of x32
		{call{arch: unix.AUDIT_ARCH_X86_64, nr: ^uint32(0)}, errno | uint32(unix.ENOSYS)},
		{call{arch: unix.AUDIT_ARCH_AARCH64, nr: 63}, unix.SECCOMP_RET_KILL_PROCESS},
		{call{arch: unix.AUDIT_ARCH_X86_64, nr: 0}, unix.SECCOMP_RET_ALLOW},
	} {
		if got := run(t, prog, c.call); got != c.want {
			t.Errorf("%+v: %#x, want %#x", c.call, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	big := uint(5000)
	for name, p := range map[string]specs.LinuxSeccomp{
		"unknown action":       {DefaultAction: "SCMP_ACT_NONSENSE"},
		"needs a tracer":       {DefaultAction: specs.ActNotify},
		"errno 5000":           {DefaultAction: specs.ActErrno, DefaultErrnoRet: &big},
		"there is no argument": {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 6, Op: specs.OpEqualTo}}}}},
		"unknown comparison":   {DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Op: "SCMP_CMP_ODD"}}}}},
	} {
		if _, err := Compile(&p, "amd64"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow}, "mips"); err == nil {
		t.Error("mips was accepted")
	}
}

func TestTableAgreesWithLibrary(t *testing.T) {
	t.Parallel()
	for column, info := range map[int]*arch.Info{1: arch.X86_64, 2: arch.I386, 3: arch.AARCH64, 4: arch.ARM} {
		got := numbers(column)
		for name, nr := range info.SyscallNames {
			if got[name] != uint32(nr) {
				t.Errorf("%s: %s is %d, the library has %d", info.Name, name, got[name], nr)
			}
		}
		if extra := len(got) - len(info.SyscallNames); extra > 1 {
			t.Errorf("%s: %d names that the library does not have", info.Name, extra)
		}
	}
}

package native

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/elastic/go-seccomp-bpf/arch"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

// x32 marks system calls of the x32 ABI, which nothing uses and filters forget.
const x32 = 0x40000000

// compile turns a seccomp profile into a classic BPF program. Each rule is a short run of instructions
// that returns its action or falls through to the next, so no jump is ever longer than a rule. What the profile does not say
// goes to its default action; foreign ABIs are killed.
func compile(p *specs.LinuxSeccomp) ([]byte, error) {
	info, err := arch.GetInfo(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	def, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	audit := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if audit == 0 {
		return nil, errors.New("not supported on " + runtime.GOARCH)
	}
	prog := []unix.SockFilter{
		load(offArch), equal(audit, 1, 0), ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(offNr), {Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32, Jf: 1}, ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
	for _, rule := range p.Syscalls {
		act, err := action(rule.Action, rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		for _, name := range rule.Names {
			nr, ok := info.SyscallNames[name]
			if !ok {
				continue // of another architecture, or newer than the table
			}
			ins, err := syscallRule(uint32(nr), rule.Args, act)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			prog = append(prog, ins...)
		}
	}
	prog = append(prog, ret(def))
	if len(prog) > 4096 {
		return nil, fmt.Errorf("%d instructions are more than the kernel takes", len(prog))
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, prog); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func equal(k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: jt, Jf: jf}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	e := uint32(unix.EPERM)
	if errno != nil {
		e = uint32(*errno)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | e&0xffff, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	}
	return 0, fmt.Errorf("action %q is not supported", a)
}

// syscallRule is: if it is that call and all argument conditions hold, return the action. The accumulator holds the
// call's number before and after.
func syscallRule(nr uint32, args []specs.LinuxSeccompArg, act uint32) ([]unix.SockFilter, error) {
	var body []unix.SockFilter
	for _, a := range args {
		ins, err := condition(a)
		if err != nil {
			return nil, err
		}
		body = append(body, ins...)
	}
	body = append(body, ret(act))
	if len(args) > 0 {
		body = append(body, load(offNr))
	}
	if len(body) > 250 {
		return nil, errors.New("too many conditions")
	}
	// Conditions that fail jump to the last instruction, which reloads the number.
	for i := range body {
		if body[i].Jf == miss {
			body[i].Jf = uint8(len(body) - 2 - i)
		}
		if body[i].Jt == miss {
			body[i].Jt = uint8(len(body) - 2 - i)
		}
	}
	return append([]unix.SockFilter{equal(nr, 0, uint8(len(body)))}, body...), nil
}

// miss marks a jump to the end of the rule; rules are shorter.
const miss = 0xff

// condition compares one 64-bit argument, upper half first.
func condition(a specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	if a.Index > 5 {
		return nil, fmt.Errorf("argument %d", a.Index)
	}
	lo, hi := offArgs+8*uint32(a.Index), offArgs+8*uint32(a.Index)+4
	and := func(k uint64) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: uint32(k)}
	}
	switch a.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{load(hi), equal(uint32(a.Value>>32), 0, miss), load(lo), equal(uint32(a.Value), 0, miss)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{load(hi), equal(uint32(a.Value>>32), 0, 2), load(lo), equal(uint32(a.Value), miss, 0)}, nil
	case specs.OpMaskedEqual:
		return []unix.SockFilter{
			load(hi), and(a.Value >> 32), equal(uint32(a.ValueTwo>>32), 0, miss),
			load(lo), and(a.Value), equal(uint32(a.ValueTwo), 0, miss),
		}, nil
	}
	return nil, fmt.Errorf("comparison %q is not supported", a.Op)
}

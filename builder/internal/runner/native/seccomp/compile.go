// Package seccomp compiles the seccomp profile of a runtime specification to the classic BPF program that the
// kernel takes. It is pure: what the program does is tested by running it on an interpreter.
//
// The program is a list of sections, one for each ABI; what comes through another is killed. A section
// goes through the system call numbers in ascending order. Neighbours with the same answer are one step:
//
//	if nr > 17 skip 1
//	return ALLOW             numbers 0 to 17
//	if nr > 18 skip 12
//	…                        number 18: each rule in the order of the profile; the first that holds decides
//
// The kernel remembers which numbers are always allowed, so the length of the list costs little.
package seccomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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

// Compile makes the program for a processor (a GOARCH), in native byte order, ready for seccomp(2). Names that the
// table does not have are skipped: they belong to other processors or are too new.
func Compile(p *specs.LinuxSeccomp, goarch string) ([]byte, error) {
	prog, err := program(p, goarch)
	if err != nil {
		return nil, err
	}
	if len(prog) > unix.BPF_MAXINSNS {
		return nil, fmt.Errorf("%d instructions are more than the kernel takes", len(prog))
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.NativeEndian, prog); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func program(p *specs.LinuxSeccomp, goarch string) ([]unix.SockFilter, error) {
	list, err := abis(goarch, p.Architectures)
	if err != nil {
		return nil, err
	}
	prog := []unix.SockFilter{load(offArch)}
	for _, a := range list {
		body, err := section(p, a)
		if err != nil {
			return nil, err
		}
		prog = append(prog, jump(unix.BPF_JEQ, a.audit, 1, 0), jumpAlways(len(body)))
		prog = append(prog, body...)
	}
	return append(prog, ret(unix.SECCOMP_RET_KILL_PROCESS)), nil
}

// A span is a run of numbers with one answer: a list of instructions that always returns.
type span struct {
	first, last uint32
	code        []unix.SockFilter
}

// section judges the calls of one ABI.
func section(p *specs.LinuxSeccomp, a abi) ([]unix.SockFilter, error) {
	def, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	codes, err := answers(p, numbers(a.column), def)
	if err != nil {
		return nil, err
	}
	prog := []unix.SockFilter{load(offNr)}
	if a.x32 {
		prog = append(prog, jump(unix.BPF_JGE, x32, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	for _, s := range spans(codes, def) {
		if len(s.code) < 200 {
			prog = append(prog, jump(unix.BPF_JGT, s.last, uint8(len(s.code)), 0))
		} else {
			prog = append(prog, jump(unix.BPF_JGT, s.last, 0, 1), jumpAlways(len(s.code)))
		}
		prog = append(prog, s.code...)
	}
	return append(prog, ret(def)), nil
}

// answers collects the rules of each number, in the order of the profile.
func answers(p *specs.LinuxSeccomp, nrs map[string]uint32, def uint32) (map[uint32][]unix.SockFilter, error) {
	codes, closed := map[uint32][]unix.SockFilter{}, map[uint32]bool{}
	for _, rule := range p.Syscalls {
		act, err := action(rule.Action, rule.ErrnoRet)
		if err != nil {
			return nil, err
		}
		code, err := ruleCode(rule.Args, act)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule.Names, err)
		}
		for _, name := range rule.Names {
			nr, known := nrs[name]
			if !known || closed[nr] {
				continue
			}
			codes[nr] = append(codes[nr], code...)
			closed[nr] = len(rule.Args) == 0
		}
	}
	for nr := range codes {
		if !closed[nr] {
			codes[nr] = append(codes[nr], ret(def))
		}
	}
	return codes, nil
}

// spans orders the answers by number, fills the gaps with the default and joins equal neighbours.
func spans(codes map[uint32][]unix.SockFilter, def uint32) []span {
	nrs := make([]uint32, 0, len(codes))
	for nr := range codes {
		nrs = append(nrs, nr)
	}
	slices.Sort(nrs)
	var list []span
	add := func(s span) {
		if n := len(list); n > 0 && slices.Equal(list[n-1].code, s.code) {
			list[n-1].last = s.last
			return
		}
		list = append(list, s)
	}
	next := uint32(0)
	for _, nr := range nrs {
		if nr > next {
			add(span{next, nr - 1, []unix.SockFilter{ret(def)}})
		}
		add(span{nr, nr, codes[nr]})
		next = nr + 1
	}
	return list
}

func load(off uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func and(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: k}
}

func jump(op uint16, k uint32, jt, jf uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: jt, Jf: jf}
}

func jumpAlways(n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}

func ret(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

// action is the value that a filter returns.
func action(a specs.LinuxSeccompAction, errno *uint) (uint32, error) {
	e := uint32(unix.EPERM)
	if errno != nil {
		if *errno > 4095 {
			return 0, fmt.Errorf("errno %d", *errno)
		}
		e = uint32(*errno)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | e, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActTrace, specs.ActNotify:
		return 0, fmt.Errorf("action %s needs a tracer, and there is none", a)
	}
	return 0, errors.New("unknown action " + string(a))
}

package seccomp

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// miss marks a jump to behind the rule, hit one to behind the condition; both are filled in when the lengths are known.
const (
	miss = 0xff
	hit  = 0xfe
)

// ruleCode returns the action if all conditions hold and goes on behind itself otherwise. Conditions on the same
// argument are alternatives, as the runtimes have it: a rule of two such is two rules.
func ruleCode(args []specs.LinuxSeccompArg, act uint32) ([]unix.SockFilter, error) {
	if repeated(args) {
		var all []unix.SockFilter
		for _, a := range args {
			code, err := ruleCode([]specs.LinuxSeccompArg{a}, act)
			if err != nil {
				return nil, err
			}
			all = append(all, code...)
		}
		return all, nil
	}
	var code []unix.SockFilter
	for _, a := range args {
		c, err := condition(a)
		if err != nil {
			return nil, err
		}
		code = append(code, resolve(c, hit, len(c))...)
	}
	code = append(code, ret(act))
	return resolve(code, miss, len(code)), nil
}

func repeated(args []specs.LinuxSeccompArg) bool {
	seen := map[uint]bool{}
	for _, a := range args {
		if seen[a.Index] {
			return true
		}
		seen[a.Index] = true
	}
	return false
}

// resolve turns a mark into the distance to the instruction at end.
func resolve(code []unix.SockFilter, mark uint8, end int) []unix.SockFilter {
	for i := range code {
		if code[i].Code&0x07 != unix.BPF_JMP {
			continue
		}
		if code[i].Jt == mark {
			code[i].Jt = uint8(end - i - 1)
		}
		if code[i].Jf == mark {
			code[i].Jf = uint8(end - i - 1)
		}
	}
	return code
}

// condition compares one 64-bit argument in two halves, the upper first. It falls through when it holds.
func condition(a specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	if a.Index > 5 {
		return nil, fmt.Errorf("there is no argument %d", a.Index)
	}
	at := offArgs + 8*uint32(a.Index) // both architectures are little-endian
	lo, hi := load(at), load(at+4)
	vlo, vhi := uint32(a.Value), uint32(a.Value>>32)
	const eq, gt, ge = unix.BPF_JEQ, unix.BPF_JGT, unix.BPF_JGE
	switch a.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{hi, jump(eq, vhi, 0, miss), lo, jump(eq, vlo, 0, miss)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{hi, jump(eq, vhi, 0, hit), lo, jump(eq, vlo, miss, 0)}, nil
	case specs.OpGreaterThan:
		return []unix.SockFilter{hi, jump(gt, vhi, hit, 0), jump(eq, vhi, 0, miss), lo, jump(gt, vlo, 0, miss)}, nil
	case specs.OpGreaterEqual:
		return []unix.SockFilter{hi, jump(gt, vhi, hit, 0), jump(eq, vhi, 0, miss), lo, jump(ge, vlo, 0, miss)}, nil
	case specs.OpLessThan:
		return []unix.SockFilter{hi, jump(gt, vhi, miss, 0), jump(eq, vhi, 0, hit), lo, jump(ge, vlo, miss, 0)}, nil
	case specs.OpLessEqual:
		return []unix.SockFilter{hi, jump(gt, vhi, miss, 0), jump(eq, vhi, 0, hit), lo, jump(gt, vlo, miss, 0)}, nil
	case specs.OpMaskedEqual:
		return []unix.SockFilter{
			hi, and(vhi), jump(eq, uint32(a.ValueTwo>>32), 0, miss), lo, and(vlo), jump(eq, uint32(a.ValueTwo), 0, miss),
		}, nil
	}
	return nil, fmt.Errorf("unknown comparison %q", a.Op)
}

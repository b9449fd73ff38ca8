package copier

import (
	"fmt"
	"strconv"
	"strings"
)

// A Chmod is a parsed --chmod: an octal mode, or symbolic clauses applied to each entry's own mode with
// a umask of 0 (dockerfile.md §6.6).
type Chmod struct {
	set     bool
	octal   bool
	mode    uint32
	clauses []clause
}

type clause struct {
	who  uint32 // mask of u, g, o triads
	op   byte
	perm string
}

// ParseChmod parses an octal or symbolic mode; empty keeps modes.
func ParseChmod(text string) (Chmod, error) {
	if text == "" {
		return Chmod{}, nil
	}
	if text[0] >= '0' && text[0] <= '9' {
		n, err := strconv.ParseUint(text, 8, 32)
		if err != nil || n > 0o7777 {
			return Chmod{}, fmt.Errorf("invalid chmod parameter: '%s'. it should be octal string and between 0 and 07777", text)
		}
		return Chmod{set: true, octal: true, mode: uint32(n)}, nil
	}
	c := Chmod{set: true}
	for _, part := range strings.Split(text, ",") {
		cs, err := parseClause(part)
		if err != nil {
			return Chmod{}, fmt.Errorf("invalid chmod parameter: '%s': %w", text, err)
		}
		c.clauses = append(c.clauses, cs...)
	}
	return c, nil
}

func parseClause(part string) ([]clause, error) {
	who := uint32(0)
	i := 0
	for ; i < len(part) && strings.IndexByte("ugoa", part[i]) >= 0; i++ {
		who |= map[byte]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007, 'a': 0o7777}[part[i]]
	}
	if who == 0 {
		who = 0o7777
	}
	var list []clause
	for i < len(part) {
		op := part[i]
		if strings.IndexByte("+-=", op) < 0 {
			return nil, fmt.Errorf("unexpected %q", op)
		}
		end := i + 1
		for end < len(part) && strings.IndexByte("rwxXstugo", part[end]) >= 0 {
			end++
		}
		list = append(list, clause{who, op, part[i+1 : end]})
		i = end
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%q has no operator", part)
	}
	return list, nil
}

// Apply returns the permission bits that an entry with those bits gets.
func (c Chmod) Apply(perm uint32, dir bool) uint32 {
	if !c.set {
		return perm
	}
	if c.octal {
		return c.mode
	}
	for _, cl := range c.clauses {
		bits := cl.bits(perm, dir) & cl.who
		switch cl.op {
		case '+':
			perm |= bits
		case '-':
			perm &^= bits
		case '=':
			perm = perm&^(cl.who&^uint32(0o1000)) | bits
		}
	}
	return perm & 0o7777
}

func (cl clause) bits(perm uint32, dir bool) uint32 {
	var bits uint32
	for _, p := range cl.perm {
		switch p {
		case 'r':
			bits |= 0o444
		case 'w':
			bits |= 0o222
		case 'x':
			bits |= 0o111
		case 'X':
			if dir || perm&0o111 != 0 {
				bits |= 0o111
			}
		case 's':
			bits |= 0o6000
		case 't':
			bits |= 0o1000
		case 'u':
			bits |= 0o111 * (perm >> 6 & 7)
		case 'g':
			bits |= 0o111 * (perm >> 3 & 7)
		case 'o':
			bits |= 0o111 * (perm & 7)
		}
	}
	return bits
}

// parents is the mode of directories made on the way to the destination: an octal mode's permission
// bits, else 0755 (dockerfile.md §6.3).
func (c Chmod) parents() uint32 {
	if c.octal {
		return c.mode & 0o777
	}
	return 0o755
}

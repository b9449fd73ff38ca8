package plan

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// from is what a FROM line says beyond what the parser of instructions knows.
type from struct {
	after string // --after
	name  string // AS, when it has variables
}

// prepare readies a syntax tree for the parser of instructions, which knows less than we accept: FROM --after and
// variables behind AS are taken out of the tree and returned, one entry for each FROM.
func prepare(ast *parser.Node) ([]from, error) {
	var list []from
	for _, n := range ast.Children {
		var err error
		switch strings.ToLower(n.Value) {
		case "from":
			var f from
			f, err = prepareFrom(n)
			list = append(list, f)
		case "onbuild":
			if n.Next != nil && len(n.Next.Children) == 1 {
				err = bareFlags(n.Next.Children[0])
			}
		default:
			err = bareFlags(n)
		}
		if err != nil {
			return nil, parser.WithLocation(fmt.Errorf("dockerfile parse error on line %d: %w", n.StartLine, err), n.Location())
		}
	}
	return list, nil
}

func prepareFrom(n *parser.Node) (f from, err error) {
	var flags []string
	for _, flag := range n.Flags {
		value, ok := strings.CutPrefix(flag, "--after")
		if !ok || value != "" && value[0] != '=' {
			flags = append(flags, flag)
			continue
		}
		switch {
		case len(value) < 2:
			return f, errors.New("missing a value on flag: --after")
		case f.after != "":
			return f, errors.New("duplicate flag specified: --after")
		}
		f.after = value[1:]
	}
	n.Flags = flags
	words := 0
	for arg := n.Next; arg != nil; arg = arg.Next {
		if words++; words == 3 && strings.Contains(arg.Value, "$") {
			f.name, arg.Value = arg.Value, "variable"
		}
	}
	return f, nil
}

// bareFlags refuses flags of COPY and ADD that lack their value, in the family's words (exact.md §2.6).
func bareFlags(n *parser.Node) error {
	var names, text string
	switch strings.ToLower(n.Value) {
	case "copy":
		names = "--chown --chmod --from --exclude"
		text = "COPY only supports the --chmod=<permissions> --chown=<uid:gid> --from=<image|stage> and the --exclude=<pattern> flags"
	case "add":
		names = "--chown --chmod --checksum --exclude"
		text = "ADD only supports the --chmod=<permissions>, --chown=<uid:gid>, and --checksum=<checksum> --exclude=<pattern> flags"
	}
	for _, flag := range n.Flags {
		for _, name := range strings.Fields(names) {
			if flag == name {
				return errors.New(text)
			}
		}
	}
	return nil
}

// ErrNotOne is the error of [Instruction] for what is none or several.
var ErrNotOne = errors.New("onbuild trigger should be a single expression")

// Instruction reads a text that holds exactly one instruction, as a trigger or --change does.
func Instruction(text string) (instructions.Command, error) {
	res, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(res.AST.Children) != 1 {
		return nil, ErrNotOne
	}
	if _, err := prepare(res.AST); err != nil {
		return nil, err
	}
	mounts := takeMounts(res.AST)
	cmd, err := instructions.ParseCommand(res.AST.Children[0])
	if err != nil {
		return nil, err
	}
	list := []instructions.Command{cmd}
	putMounts(list, mounts)
	return list[0], nil
}

// Resolve gives stages the names that hold variables behind AS, with values of the global scope.
func (p *Plan) Resolve(expand func(string) (string, error)) error {
	valid := regexp.MustCompile(`^[a-z][a-z0-9-_.]*$`)
	for i := range p.Stages {
		s := &p.Stages[i]
		if s.nameText == "" {
			continue
		}
		name, err := expand(s.nameText)
		if err == nil && !valid.MatchString(strings.ToLower(name)) {
			err = fmt.Errorf("invalid name for build stage: %q, name can't start with a number or contain symbols", name)
		}
		if err != nil {
			return p.At(s.Location, err)
		}
		s.Name, s.nameText = strings.ToLower(name), ""
	}
	return nil
}

package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// Target returns the index of the stage to build: by name or number, or the last one.
func (p *Plan) Target(name string) (int, error) {
	if name == "" {
		return len(p.Stages) - 1, nil
	}
	if i, ok := p.Stage(name, len(p.Stages)); ok {
		return i, nil
	}
	var names []string
	for _, s := range p.Stages {
		if s.Name != "" {
			names = append(names, s.Name)
		}
	}
	return 0, suggest.WrapError(fmt.Errorf("the target %q was not found in the provided Dockerfile", name), name, names, true)
}

// A Ref is what an instruction takes files from: a stage, an image or a context, by its name as written.
type Ref struct {
	Name  string
	Mount string // target of the mount that names it, empty for COPY --from
	// Where and Text are of the instruction that names it, for errors; without them it is the stage's FROM, as for a trigger.
	Where []parser.Range
	Text  string
}

// Refs are the sources that an instruction names.
func Refs(c instructions.Command) []Ref {
	switch c := c.(type) {
	case *instructions.CopyCommand:
		if c.From != "" {
			return []Ref{{Name: c.From}}
		}
	case *Run:
		var list []Ref
		for _, m := range c.Mounts {
			if from := mountFrom(m); from != "" {
				list = append(list, Ref{Name: from, Mount: "a mount"})
			}
		}
		return list
	}
	return nil
}

// Find returns the stage that a source of stage i means. ok is false for what is no stage: an image or a context. To name a
// stage that is not built before is an error (dockerfile.md §4.2).
func (p *Plan) Find(r Ref, i int) (k int, ok bool, err error) {
	if p.Replaced != nil && p.Replaced(r.Name) {
		return 0, false, nil
	}
	if k, ok := p.Stage(r.Name, i); ok {
		return k, true, nil
	}
	later := fmt.Errorf("cannot copy from stage %q, it needs to be defined before current stage %q", r.Name, p.Stages[i].Label())
	if r.Mount != "" {
		later = fmt.Errorf("cannot mount from stage %q, stage needs to be defined before current command", r.Name)
	}
	if n, err := strconv.Atoi(r.Name); err == nil {
		if n < 0 || n >= len(p.Stages) {
			return 0, false, fmt.Errorf("invalid stage index %s", r.Name)
		}
		return 0, false, later
	}
	if own := p.Stages[i].Name; own != "" && strings.EqualFold(own, r.Name) && r.Mount == "" {
		return 0, false, fmt.Errorf("COPY --from=%s: no stage or image found with that name", r.Name)
	}
	for _, s := range p.Stages[i:] {
		if s.Name != "" && strings.EqualFold(s.Name, r.Name) {
			return 0, false, later
		}
	}
	return 0, false, nil
}

// Sources says what a stage is made from, expanded.
type Sources struct {
	Base  string // of FROM
	After string // of FROM --after
	Refs  []Ref  // of its instructions and of the triggers that fire in it
}

// Needed lists the stages that a target needs, in the order of the file: each is behind those that it needs, and also behind those that it
// turns out to need when the triggers of its base are known. The target is the last one.
func (p *Plan) Needed(target int, sources func(int) (Sources, error)) ([]int, error) {
	var order []int
	var visit func(int) error
	visit = func(i int) error {
		if slices.Contains(order, i) {
			return nil
		}
		needs, err := p.Needs(i, sources)
		if err != nil {
			return err
		}
		for _, k := range needs {
			if err := visit(k); err != nil {
				return err
			}
		}
		order = append(order, i)
		return nil
	}
	err := visit(target)
	slices.Sort(order)
	return order, err
}

// Needs are the stages that a stage needs directly.
func (p *Plan) Needs(i int, sources func(int) (Sources, error)) (list []int, err error) {
	if list, err = p.Before(i, sources); err != nil {
		return nil, err
	}
	from, err := sources(i)
	if err != nil {
		return nil, err
	}
	for _, r := range from.Refs {
		k, ok, err := p.Find(r, i)
		switch {
		case err != nil && len(r.Where) > 0:
			return nil, p.At(r.Where, fmt.Errorf("building at STEP \"%s\": %w", r.Text, err))
		case err != nil:
			return nil, p.At(p.Stages[i].Location, err)
		}
		if ok {
			list = append(list, k)
		}
	}
	return list, nil
}

// Before are those of them that a stage cannot begin without: what it stands on, and what FROM --after names.
func (p *Plan) Before(i int, sources func(int) (Sources, error)) (list []int, err error) {
	from, err := sources(i)
	if err != nil {
		return nil, err
	}
	if k, ok := p.Stage(from.Base, i); ok {
		list = append(list, k)
	}
	if from.After != "" && (p.Replaced == nil || !p.Replaced(from.After)) {
		k, err := p.after(from.After, i)
		if err != nil {
			return nil, p.At(p.Stages[i].Location, err)
		}
		list = append(list, k)
	}
	return list, nil
}

// after finds the stage that FROM --after names (exact.md §4.1.1).
func (p *Plan) after(name string, i int) (int, error) {
	k, ok := p.Stage(name, i)
	switch own := p.Stages[i].Name; {
	case ok:
		return k, nil
	case own != "" && strings.EqualFold(own, name), name == strconv.Itoa(i):
		return 0, fmt.Errorf("FROM --after=%s: cannot depend on later stage", name)
	}
	return 0, fmt.Errorf("FROM --after=%s: stage %q not found", name, name)
}

// Similar is " (did you mean the stage NAME?)" where a stage has almost that name, else empty.
func (p *Plan) Similar(name string) string {
	var names []string
	for i := range p.Stages {
		names = append(names, p.Stages[i].Name)
	}
	if found, ok := suggest.Search(name, slices.DeleteFunc(names, func(n string) bool { return n == "" }), false); ok {
		return fmt.Sprintf(" (did you mean the stage %s?)", found)
	}
	return ""
}

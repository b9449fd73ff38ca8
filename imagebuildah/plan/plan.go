// Package plan reads Dockerfiles: into stages, what they need of each other, and the part that a target needs. It is pure:
// nothing is looked up, pulled or run.
package plan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Plan is a parsed Dockerfile.
type Plan struct {
	Name   string // of the file, for messages
	Escape rune
	Global []instructions.ArgCommand
	Stages []Stage
	// Replaced tells the names that --build-context gives another meaning: they are no stages. It may be nil.
	Replaced func(name string) bool
	Text     string // of the file
	lines    []string
	further  []Further
}

// A Further is a build file that goes on where the one before it ends: Line is where it begins in the whole text.
type Further struct {
	Name string
	Line int
}

// Stage is one stage.
type Stage struct {
	instructions.Stage
	Index int
	// After names an earlier stage that is built before this one for its effects only, unexpanded (FROM --after).
	After    string
	nameText string // of the name, until Resolve
}

// Label names the stage in messages.
func (s *Stage) Label() string {
	if s.Name != "" {
		return s.Name
	}
	return fmt.Sprintf("stage-%d", s.Index)
}

// A SourceError is an error with the place in the file that it is about.
type SourceError struct {
	File    string
	Line    int
	Excerpt string // the lines around it, marked, ending in a newline
	Err     error
}

func (e *SourceError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap gives the error itself.
func (e *SourceError) Unwrap() error { return e.Err }

const maxSize = 16 << 20

// Parse reads a Dockerfile, or several as one.
func Parse(name string, r io.Reader, further ...Further) (*Plan, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > maxSize {
		return nil, fmt.Errorf("reading %s: larger than %d bytes", name, maxSize)
	}
	p := &Plan{Name: name, Text: string(text), further: further, lines: strings.Split(strings.TrimRight(string(text), "\n"), "\n")}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, fmt.Errorf("no contents in %q", name)
	}
	res, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, p.tooLong(p.endless(err))
	}
	p.Escape = res.EscapeToken
	froms, err := prepare(res.AST)
	if err != nil {
		return nil, p.located(err)
	}
	mounts := takeMounts(res.AST)
	stages, global, err := instructions.Parse(res.AST, nil)
	if err != nil {
		return nil, p.located(err)
	}
	if len(stages) == 0 {
		return nil, fmt.Errorf("%s: dockerfile contains no stages to build", name)
	}
	p.Global = global
	for i, s := range stages {
		mounts = putMounts(s.Commands, mounts)
		st := Stage{Stage: s, Index: i, After: froms[i].after, nameText: froms[i].name}
		if st.nameText != "" {
			st.Name = "" // until Resolve
		}
		p.Stages = append(p.Stages, st)
	}
	return p, nil
}

// Escape is what the escape directive of a build file says, a backslash without one.
func Escape(text []byte) (string, error) {
	list, err := new(parser.DirectiveParser).ParseAll(text)
	if err != nil {
		return "", err
	}
	escape := string(parser.DefaultEscapeToken)
	for _, d := range list {
		if d.Name == "escape" {
			escape = d.Value
		}
	}
	if escape != "`" && escape != `\` {
		return "", fmt.Errorf("invalid ESCAPE '%s'. Must be ` or \\", escape)
	}
	return escape, nil
}

// located finds the place that a parser's error is about.
func (p *Plan) located(err error) error {
	var le *parser.LocationError
	if errors.As(err, &le) && len(le.Locations) > 0 && len(le.Locations[0]) > 0 {
		return p.At(le.Locations[0], err)
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}

// maxLine is how long a line may be, in bytes (dockerfile.md §2.1).
const maxLine = 65535

// tooLong says which line an error about a long one, which the parser places nowhere, is about.
func (p *Plan) tooLong(err error) error {
	if !strings.HasSuffix(err.Error(), "max allowed size of 65535") {
		return err
	}
	n := slices.IndexFunc(p.lines, func(line string) bool { return len(line) > maxLine })
	at := parser.Position{Line: n + 1}
	return p.At([]parser.Range{{Start: at, End: at}}, fmt.Errorf("dockerfile line greater than max allowed size of %d", maxLine))
}

// At says where in the file an error is.
func (p *Plan) At(where []parser.Range, err error) error {
	if len(where) == 0 {
		return err
	}
	first, last := max(1, where[0].Start.Line), where[len(where)-1].End.Line // a bad escape directive is said to be before all lines
	file, start, _ := p.file(first)
	return &SourceError{File: file, Line: first - start + 1, Excerpt: p.excerpt(first, max(first, last)), Err: err}
}

// file is the build file that a line of the whole text is in, with its first and its last line there.
func (p *Plan) file(line int) (name string, first, last int) {
	name, first, last = p.Name, 1, len(p.lines)
	for _, f := range p.further {
		if f.Line > line {
			return name, first, f.Line - 1
		}
		name, first = f.Name, f.Line
	}
	return name, first, last
}

// Excerpt shows the lines of a place, marked, between those around them; it is empty for no place.
func (p *Plan) Excerpt(where []parser.Range) string {
	if len(where) == 0 {
		return ""
	}
	first, last := where[0].Start.Line, where[len(where)-1].End.Line
	return p.excerpt(first, max(first, last))
}

// excerpt shows lines with two more on either side (dockerfile.md §15).
func (p *Plan) excerpt(first, last int) string {
	var b strings.Builder
	rule := strings.Repeat("-", 20) + "\n"
	name, start, end := p.file(first)
	fmt.Fprintf(&b, "%s:%d\n%s", name, first-start+1, rule)
	for n := max(start, first-2); n <= min(len(p.lines), max(end, last), last+2); n++ {
		mark := "   "
		if n >= first && n <= last {
			mark = ">>>"
		}
		fmt.Fprintf(&b, "%4d | %s %s\n", n-start+1, mark, Visible(shortened(strings.TrimRight(p.lines[n-1], "\r"))))
	}
	return b.String() + rule
}

// shortened is a line as far as anybody reads it.
func shortened(line string) string {
	const most = 1000
	if len(line) <= most {
		return line
	}
	return strings.ToValidUTF8(line[:most], "") + "…"
}

// Visible is text of a build file as a terminal may show it: control characters, which could move the cursor or rename
// the window, are spelled out.
func Visible(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, "\\x%02x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' }

// Stage finds an earlier stage than before, by name, the last of that name, or by number.
func (p *Plan) Stage(name string, before int) (int, bool) {
	if p.Replaced != nil && p.Replaced(name) {
		return 0, false
	}
	for i := min(before, len(p.Stages)) - 1; i >= 0; i-- {
		if p.Stages[i].Name != "" && strings.EqualFold(p.Stages[i].Name, name) {
			return i, true
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < before {
		return n, true
	}
	return 0, false
}

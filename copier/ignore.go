package copier

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Ignore is a list of patterns as in an ignore file: the last one that matches decides, "!" takes back,
// "**" is any number of components (dockerfile.md §7). A nil Ignore excludes nothing.
type Ignore struct {
	rules []rule
	name  string
	back  [][]string // the components of the patterns that take back
}

// A rule is one pattern. The library's own walk over all of them, MatchesUsingParentResults, does not ask a pattern that changes nothing
// for a directory, and then does not know it for what is inside: of "a/**/b" and "!a/x" it excludes a/x/y/b.
type rule struct {
	m    *patternmatcher.PatternMatcher
	back bool
}

// MaxIgnore is how long an ignore file may be, in bytes.
const MaxIgnore = 4 << 20

// ReadIgnore reads the ignore file of that name; none is a nil Ignore.
func ReadIgnore(name string) (*Ignore, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening ignore file: %w", err)
	}
	defer f.Close()
	return ParseIgnore(name, f)
}

// ParseIgnore reads an ignore file. Its name is for messages.
func ParseIgnore(name string, r io.Reader) (*Ignore, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxIgnore+1))
	if err == nil && len(text) > MaxIgnore {
		err = fmt.Errorf("longer than %d bytes", MaxIgnore)
	}
	var patterns []string
	if err == nil {
		patterns, err = ignorefile.ReadAll(bytes.NewReader(text))
	}
	var i *Ignore
	if err == nil {
		i, err = NewIgnore(patterns)
	}
	if err != nil {
		return nil, fmt.Errorf("ignore file %s: %w", name, err)
	}
	if i != nil {
		i.name = name
	}
	return i, nil
}

// NewIgnore compiles patterns; none give a nil Ignore.
func NewIgnore(patterns []string) (*Ignore, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	i := &Ignore{}
	for _, p := range m.Patterns() {
		text := p.String()
		if strings.HasPrefix(text, "!") { // what is left of "!!"
			text = `\` + text
		}
		one, err := patternmatcher.New([]string{text})
		if err != nil {
			return nil, err
		}
		i.rules = append(i.rules, rule{one, p.Exclusion()})
		if p.Exclusion() {
			i.back = append(i.back, strings.Split(strings.Trim(p.String(), "/"), "/"))
		}
		if _, err := patternmatcher.MatchesOrParentMatches("x", []string{p.String()}); err != nil { // later it would be no match
			return nil, fmt.Errorf("pattern %q: %w", p.String(), err)
		}
	}
	return i, nil
}

// A verdict is what the patterns say of a path: the last one that matches it, or a directory that it is in, decides. hits has a bit for
// each that does, which all below inherit.
type verdict struct {
	out  bool
	hits []uint64
}

// below judges a path whose parent has the verdict up.
func (i *Ignore) below(up verdict, rel string) verdict {
	if i == nil {
		return verdict{}
	}
	v := verdict{hits: make([]uint64, (len(i.rules)+63)/64)}
	copy(v.hits, up.hits)
	for n, r := range i.rules {
		bit := uint64(1) << (n % 64)
		if v.hits[n/64]&bit == 0 {
			//lint:ignore SA1019 it is right of one pattern, and asks about nothing but the path
			if hit, err := r.m.MatchesUsingParentResult(rel, false); err != nil || !hit {
				continue
			}
			v.hits[n/64] |= bit
		}
		v.out = !r.back
	}
	return v
}

// at judges a path, relative to the root that the patterns are for.
func (i *Ignore) at(rel string) verdict {
	var v verdict
	if i == nil || rel == "" || rel == "." {
		return v
	}
	for n := range rel {
		if rel[n] == '/' {
			v = i.below(v, rel[:n])
		}
	}
	return i.below(v, rel)
}

// Excluded tells whether a path, relative to the root the patterns are for, is excluded.
func (i *Ignore) Excluded(rel string) bool { return i.at(rel).out }

// TakesBack tells whether there are "!" patterns.
func (i *Ignore) TakesBack() bool { return i != nil && len(i.back) > 0 }

// Within tells whether something inside the directory rel may be taken back by a "!" pattern. Where it is not, an
// excluded directory is not even opened.
func (i *Ignore) Within(rel string) bool {
	if i == nil {
		return false
	}
	parts := strings.Split(rel, "/")
	for _, back := range i.back {
		if reaches(back, parts) {
			return true
		}
	}
	return false
}

// reaches tells whether a pattern can match dir or something inside it.
func reaches(pattern, dir []string) bool {
	for n, part := range dir {
		if n == len(pattern) || pattern[n] == "**" || strings.Contains(pattern[n], "**") {
			return true
		}
		if ok, err := path.Match(pattern[n], part); err != nil || !ok {
			return false
		}
	}
	return true
}

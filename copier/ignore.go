package copier

import (
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Ignore is a list of patterns as in an ignore file: the last one that matches decides, "!" takes back,
// "**" is any number of components (dockerfile.md §7). A nil Ignore excludes nothing.
type Ignore struct {
	m    *patternmatcher.PatternMatcher
	name string
	back [][]string // the components of the patterns that take back
}

// ParseIgnore reads an ignore file. Its name is for messages.
func ParseIgnore(name string, r io.Reader) (*Ignore, error) {
	patterns, err := ignorefile.ReadAll(r)
	if err != nil {
		return nil, err
	}
	i, err := NewIgnore(patterns)
	if i != nil {
		i.name = name
	}
	return i, err
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
	i := &Ignore{m: m}
	for _, p := range m.Patterns() {
		if p.Exclusion() {
			i.back = append(i.back, strings.Split(strings.Trim(p.String(), "/"), "/"))
		}
		if _, err := patternmatcher.MatchesOrParentMatches("x", []string{p.String()}); err != nil { // later it would be no match
			return nil, fmt.Errorf("pattern %q: %w", p.String(), err)
		}
	}
	return i, nil
}

// A verdict is what the patterns say of a path, with what those below it inherit.
type verdict struct {
	out  bool
	info patternmatcher.MatchInfo
}

// below judges a path whose parent has the verdict up.
func (i *Ignore) below(up verdict, rel string) verdict {
	if i == nil {
		return verdict{}
	}
	out, info, err := i.m.MatchesUsingParentResults(rel, up.info)
	return verdict{err == nil && out, info}
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

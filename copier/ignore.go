package copier

import (
	"io"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Ignore is a list of patterns as in an ignore file: the last one that matches decides, "!" takes back,
// "**" is any number of components (dockerfile.md §7). A nil Ignore excludes nothing.
type Ignore struct {
	m *patternmatcher.PatternMatcher
}

// ParseIgnore reads an ignore file.
func ParseIgnore(r io.Reader) (*Ignore, error) {
	patterns, err := ignorefile.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return NewIgnore(patterns)
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
	return &Ignore{m}, nil
}

// Excluded tells whether a path, relative to the root the patterns are for, is excluded.
func (i *Ignore) Excluded(rel string) bool {
	if i == nil {
		return false
	}
	ok, err := i.m.MatchesOrParentMatches(rel)
	return err == nil && ok
}

// Negated tells whether something inside an excluded directory may be included again.
func (i *Ignore) Negated() bool { return i != nil && i.m.Exclusions() }

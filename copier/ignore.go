package copier

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Ignore is a list of patterns as in an ignore file: the last one that matches decides, "!" takes back,
// "**" is any number of components (dockerfile.md §7). A nil Ignore excludes nothing.
type Ignore struct {
	rules []rule
	exact map[string]int // the number, from 1, of the last rule without wildcards, by its text
	globs []int          // the numbers of those with wildcards
	name  string
	back  [][]string // the components of the patterns that take back
}

// A rule is one pattern. The library's own walk over all of them, MatchesUsingParentResults, does not ask a pattern that changes nothing
// for a directory, and then does not know it for what is inside: of "a/**/b" and "!a/x" it excludes a/x/y/b.
type rule struct {
	m              *patternmatcher.PatternMatcher
	back           bool
	prefix, suffix string // that what it matches has: looked at first, as there may be thousands of rules
}

// wildcards are the bytes that may mean something else than themselves in a pattern, or where the library makes an expression of it.
const wildcards = `*?[]\^`

// ends are the texts that all that a pattern with wildcards matches begins and ends with.
func ends(pattern string) (prefix, suffix string) {
	if strings.ContainsRune(pattern, utf8.RuneError) || strings.HasPrefix(pattern, "\uFEFF") { // expressions take others for these
		return "", ""
	}
	suffix = pattern[strings.LastIndexAny(pattern, wildcards)+1:]
	return pattern[:strings.IndexAny(pattern, wildcards)], strings.TrimPrefix(suffix, "/") // "**/" may be nothing
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
	i := &Ignore{exact: map[string]int{}}
	for _, p := range m.Patterns() {
		text := p.String()
		if strings.HasPrefix(text, "!") { // what is left of "!!"
			text = `\` + text
		}
		one, err := patternmatcher.New([]string{text})
		if err != nil {
			return nil, err
		}
		i.add(one, p)
		if p.Exclusion() {
			i.back = append(i.back, strings.Split(strings.Trim(p.String(), "/"), "/"))
		}
		if _, err := patternmatcher.MatchesOrParentMatches("x", []string{p.String()}); err != nil { // later it would be no match
			return nil, fmt.Errorf("pattern %q: %w", p.String(), err)
		}
	}
	return i, nil
}

// anchored are patterns without the slash that one may begin with: like one of an ignore file it is anchored anyway.
func anchored(patterns []string) []string {
	var list []string
	for _, p := range patterns {
		rest, back := strings.CutPrefix(strings.TrimSpace(p), "!")
		rest = strings.TrimLeft(strings.TrimSpace(rest), "/")
		if back {
			rest = "!" + rest
		}
		list = append(list, rest)
	}
	return list
}

// add is the next rule: a pattern, alone in m.
func (i *Ignore) add(m *patternmatcher.PatternMatcher, p *patternmatcher.Pattern) {
	r := rule{m: m, back: p.Exclusion()}
	number := len(i.rules) + 1
	if strings.ContainsAny(p.String(), wildcards) {
		r.prefix, r.suffix = ends(p.String())
		i.globs = append(i.globs, number)
	} else {
		i.exact[p.String()] = number
	}
	i.rules = append(i.rules, r)
}

// A verdict is what the patterns say of a path: the last one that matches it, or a directory that it is in, decides. It is the number of
// that one, from 1; all below inherit it.
type verdict struct {
	out  bool
	last int
}

// below judges a path whose parent has the verdict up.
func (i *Ignore) below(up verdict, rel string) verdict {
	if i == nil {
		return verdict{}
	}
	last := max(up.last, i.exact[rel])
	for n := len(i.globs) - 1; n >= 0 && i.globs[n] > last; n-- {
		if i.rules[i.globs[n]-1].matches(rel) {
			last = i.globs[n]
		}
	}
	return verdict{last > 0 && !i.rules[last-1].back, last}
}

func (r *rule) matches(rel string) bool {
	if !strings.HasPrefix(rel, r.prefix) || !strings.HasSuffix(rel, r.suffix) {
		return false
	}
	//lint:ignore SA1019 it is right of one pattern, and asks about nothing but the path
	hit, err := r.m.MatchesUsingParentResult(rel, false)
	return err == nil && hit
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

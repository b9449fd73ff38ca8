// Package lint checks Dockerfiles with BuildKit's rules (dockerfile.md §14): what builds, but is likely not meant. It is pure: what
// must be known of base images is asked of the caller.
package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// Input is what a check needs.
type Input struct {
	Plan *plan.Plan
	// Args are the build arguments. BUILDKIT_DOCKERFILE_CHECK replaces the file's own check directive.
	Args map[string]string
	// Automatic are the arguments that every build has, as "K=V".
	Automatic []string
	// Base gives the configuration of an image that a stage is built on; nil if it is not at hand. May be nil.
	Base func(stage int, name string) *config.Image
	// Platform is what base images should be for, "os/arch"; empty is not checked.
	Platform string
	// Stages are the indices to check; nil is all.
	Stages []int
	// Ignored tells whether a path of the context is left out of it; nil if that cannot be decided.
	Ignored func(path string) bool
}

// A Finding is a rule that is not kept.
type Finding struct {
	Rule, URL, Message string
	Where              []parser.Range
}

// Line is where it is, 0 if that is not known.
func (f *Finding) Line() int {
	if len(f.Where) == 0 {
		return 0
	}
	return f.Where[0].Start.Line
}

// String is the finding as a build prints it.
func (f *Finding) String() string { return linter.LintFormatShort(f.Rule, f.Message, f.Line()) }

// Result is what a check found, in the order of the file.
type Result struct {
	Findings []Finding
	failing  bool
}

// Err is an error if the file asks for one when a rule is not kept ("# check=error=true").
func (r *Result) Err() error {
	if !r.failing || len(r.Findings) == 0 {
		return nil
	}
	var rules []string
	for _, f := range r.Findings {
		rules = append(rules, f.Rule)
	}
	slices.Sort(rules)
	return fmt.Errorf("lint violation found for rules: %s", strings.Join(slices.Compact(rules), ", "))
}

// Check checks a Dockerfile. An error is about the check directive.
func Check(in Input) (*Result, error) {
	res, err := parser.Parse(strings.NewReader(in.Plan.Text))
	if err != nil {
		return nil, err
	}
	c := &checker{in: in, nodes: map[int]*parser.Node{}, known: map[int]*chain{}}
	for _, n := range res.AST.Children {
		c.nodes[n.StartLine] = n
	}
	text, ok := in.Args["BUILDKIT_DOCKERFILE_CHECK"]
	var where []parser.Range
	if !ok {
		_, text, where, _ = parser.ParseDirective("check", []byte(in.Plan.Text))
	}
	if c.cfg, err = linter.ParseLintOptions(text); err != nil {
		return nil, in.Plan.At(where, err)
	}
	c.given, c.defaults = c.global(in.Args), c.global(nil)
	c.file(res)
	for i := range in.Plan.Stages {
		if in.Stages == nil || slices.Contains(in.Stages, i) {
			c.stage(i)
		}
	}
	slices.SortStableFunc(c.found, func(a, b Finding) int { return a.Line() - b.Line() })
	return &Result{Findings: c.found, failing: c.cfg.ReturnAsError}, nil
}

type checker struct {
	in       Input
	cfg      *linter.Config
	nodes    map[int]*parser.Node // by first line
	found    []Finding
	known    map[int]*chain
	given    *expand.Scope // of FROM lines, with the caller's arguments; the other one has the defaults alone
	defaults *expand.Scope
}

// say notes a finding, unless its rule is off here.
func (c *checker) say(rule linter.LinterRuleI, where []parser.Range, message string) {
	if !c.enabled(rule, where) {
		return
	}
	rule.Run(func(name, _, url, text string, where []parser.Range) {
		c.found = append(c.found, Finding{Rule: name, URL: url, Message: text, Where: where})
	}, where, message)
}

// enabled follows the file's directive and the comment right above the instruction.
func (c *checker) enabled(rule linter.LinterRuleI, where []parser.Range) bool {
	cfg := *c.cfg
	if len(where) > 0 {
		if n := c.nodes[where[0].Start.Line]; n != nil {
			merge(&cfg, n.PrevComment)
		}
	}
	name := rule.RuleName()
	// BuildKit has made this rule an ordinary one since the version that is linked here.
	if rule.IsExperimental() && name != linter.RuleCopyIgnoredFile.Name {
		return cfg.ExperimentalAll || slices.Contains(cfg.ExperimentalRules, name)
	}
	return !cfg.SkipAll && !slices.Contains(cfg.SkipRules, name)
}

// merge adds the options of comments like "check=skip=Rule".
func merge(cfg *linter.Config, comments []string) {
	for _, line := range comments {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "check=")
		if !ok {
			continue
		}
		more, err := linter.ParseLintOptions(text)
		if err != nil {
			continue // an ordinary comment
		}
		cfg.SkipAll = cfg.SkipAll || more.SkipAll
		cfg.ExperimentalAll = cfg.ExperimentalAll || more.ExperimentalAll
		cfg.SkipRules = append(slices.Clone(cfg.SkipRules), more.SkipRules...)
		cfg.ExperimentalRules = append(slices.Clone(cfg.ExperimentalRules), more.ExperimentalRules...)
	}
}

// global is the scope of FROM lines: with the caller's arguments, or with the defaults alone.
func (c *checker) global(args map[string]string) *expand.Scope {
	s := &expand.Scope{Escape: c.in.Plan.Escape, Env: c.in.Automatic}
	for _, kv := range c.in.Automatic {
		name, _, _ := strings.Cut(kv, "=")
		s.Declared = append(s.Declared, name)
	}
	for i := range c.in.Plan.Global {
		_ = s.Arg(&c.in.Plan.Global[i], args, nil) // an error is the build's to say
	}
	return s
}

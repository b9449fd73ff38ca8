package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/util/suggest"
)

// file applies the rules that look at lines.
func (c *checker) file(res *parser.Result) {
	for _, w := range res.Warnings {
		if w.Location != nil && (w.Short == linter.RuleNoEmptyContinuation.Format() || strings.HasPrefix(w.Short, "Empty continuation")) {
			c.say(&linter.RuleNoEmptyContinuation, []parser.Range{*w.Location}, linter.RuleNoEmptyContinuation.Format())
		}
	}
	nodes := c.checked(res.AST.Children)
	c.casing(nodes)
	for _, n := range nodes {
		switch strings.ToLower(n.Value) {
		case "from":
			c.fromLine(n)
		case "arg":
			c.description("ARG", n, words(n))
		case "maintainer":
			c.say(&linter.RuleMaintainerDeprecated, n.Location(), linter.RuleMaintainerDeprecated.Format())
		}
	}
}

// checked are the lines of the stages to check, and those in front of the first.
func (c *checker) checked(all []*parser.Node) (list []*parser.Node) {
	stage := -1
	for _, n := range all {
		if strings.EqualFold(n.Value, "from") {
			stage++
		}
		if stage < 0 || c.in.Stages == nil || slices.Contains(c.in.Stages, stage) {
			list = append(list, n)
		}
	}
	return list
}

func words(n *parser.Node) (list []string) {
	for arg := n.Next; arg != nil; arg = arg.Next {
		name, _, _ := strings.Cut(arg.Value, "=")
		list = append(list, name)
	}
	return list
}

// casing asks for instructions in one case, that of most of them.
func (c *checker) casing(nodes []*parser.Node) {
	upper, lower := 0, 0
	for _, n := range nodes {
		switch n.Value {
		case strings.ToUpper(n.Value):
			upper++
		case strings.ToLower(n.Value):
			lower++
		}
	}
	name, right := "uppercase", strings.ToUpper
	if lower > upper {
		name, right = "lowercase", strings.ToLower
	}
	for _, n := range nodes {
		if n.Value != right(n.Value) {
			c.say(&linter.RuleConsistentInstructionCasing, n.Location(), linter.RuleConsistentInstructionCasing.Format(n.Value, name))
		}
	}
}

func (c *checker) fromLine(n *parser.Node) {
	args := words(n)
	if len(args) != 3 {
		return
	}
	as, name := args[1], args[2]
	if name != strings.ToLower(name) {
		c.say(&linter.RuleStageNameCasing, n.Location(), linter.RuleStageNameCasing.Format(name))
	}
	switch n.Value {
	case strings.ToUpper(n.Value):
		if as != strings.ToUpper(as) {
			c.say(&linter.RuleFromAsCasing, n.Location(), linter.RuleFromAsCasing.Format(n.Value, as))
		}
	case strings.ToLower(n.Value):
		if as != strings.ToLower(as) {
			c.say(&linter.RuleFromAsCasing, n.Location(), linter.RuleFromAsCasing.Format(n.Value, as))
		}
	}
	c.description("FROM", n, []string{name})
}

// description asks that a comment right above a definition begins with its name.
func (c *checker) description(verb string, n *parser.Node, names []string) {
	if len(n.PrevComment) == 0 || len(names) == 0 {
		return
	}
	last := n.PrevComment[len(n.PrevComment)-1]
	word, _, _ := strings.Cut(last, " ")
	if slices.Contains(names, word) || strings.HasPrefix(last, "check=") {
		return
	}
	shown := names[0]
	if len(names) > 1 {
		shown = "<arg_key>"
	}
	c.say(&linter.RuleInvalidDefinitionDescription, n.Location(), linter.RuleInvalidDefinitionDescription.Format(verb, shown))
}

// secret tells names that look like those of secrets.
func secret(name string) bool {
	name = strings.ToLower(name)
	looks := regexp.MustCompile(`(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)`)
	harmless := regexp.MustCompile(`(?:_|^)(?:public|file|version)(?:_|$)`)
	return looks.MatchString(name) && !harmless.MatchString(name)
}

// similar is a name that may have been meant.
func similar(name string, env, declared []string) string {
	options := slices.Clone(declared)
	for _, kv := range env {
		k, _, _ := strings.Cut(kv, "=")
		options = append(options, k)
	}
	if found, ok := suggest.Search(name, options, true); ok {
		return found
	}
	return ""
}

package imagebuildah

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/slipway-build/slipway/builder"
)

// A SourcePolicy says which images a build may use: the first rule that fits an image decides, and one that no rule fits is allowed
// (dockerfile.md §16.4).
type SourcePolicy struct{ rules []policyRule }

type policyRule struct {
	action  string // ALLOW, DENY or CONVERT
	match   *regexp.Regexp
	replace string // of CONVERT
}

const imageScheme = "docker-image://"

// ReadSourcePolicy reads a policy of BuildKit's form from a JSON file.
func ReadSourcePolicy(file string) (*SourcePolicy, error) {
	p, err := readPolicy(file)
	if err != nil {
		return nil, fmt.Errorf("loading source policy: %w", err)
	}
	return p, nil
}

func readPolicy(file string) (*SourcePolicy, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return parsePolicy(text)
}

func parsePolicy(text []byte) (*SourcePolicy, error) {
	var in struct {
		Rules []struct {
			Action   string
			Selector struct{ Identifier, MatchType string }
			Updates  struct{ Identifier string }
		}
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	p := &SourcePolicy{}
	for n, r := range in.Rules {
		rule := policyRule{action: strings.ToUpper(r.Action)}
		var err error
		switch rule.action {
		case "ALLOW", "DENY", "CONVERT":
		case "":
			err = errors.New("action is required")
		default:
			err = fmt.Errorf("unknown action %q: want ALLOW, DENY or CONVERT", r.Action)
		}
		switch {
		case err != nil:
		case r.Selector.Identifier == "":
			err = errors.New("selector.identifier is required")
		case rule.action == "CONVERT" && r.Updates.Identifier == "":
			err = errors.New("updates.identifier is required for CONVERT action")
		case rule.action == "CONVERT" && !strings.HasPrefix(r.Updates.Identifier, imageScheme):
			err = fmt.Errorf("updates.identifier %q: want %sIMAGE", r.Updates.Identifier, imageScheme)
		default:
			rule.replace = r.Updates.Identifier
			rule.match, err = pattern(r.Selector.Identifier, strings.ToUpper(r.Selector.MatchType))
		}
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", n, err)
		}
		p.rules = append(p.rules, rule)
	}
	return p, nil
}

// pattern is what a selector fits. A star stands for anything, a question mark for one character.
func pattern(text, kind string) (*regexp.Regexp, error) {
	quoted := regexp.QuoteMeta(text)
	switch kind {
	case "EXACT":
	case "", "WILDCARD":
		quoted = strings.NewReplacer(`\*`, "(.*)", `\?`, "(.)").Replace(quoted)
	default:
		return nil, fmt.Errorf("unknown matchType %q: want EXACT or WILDCARD", kind)
	}
	return regexp.Compile("^(?:" + quoted + ")$")
}

// apply returns the image to take for one that a build file names. Names are compared in full, with the tag or, if it is
// the usual one, without. What is no name of a registry is not looked at.
func (p *SourcePolicy) apply(name string) (string, error) {
	if p == nil {
		return name, nil
	}
	full, ok := builder.RegistryName(name)
	if !ok {
		return name, nil // a file or an ID
	}
	full = imageScheme + full
	for _, r := range p.rules {
		at := full
		if !r.match.MatchString(at) {
			if at = strings.TrimSuffix(full, ":latest"); !r.match.MatchString(at) {
				continue
			}
		}
		switch r.action {
		case "DENY":
			return "", fmt.Errorf("source %q denied by source policy", full)
		case "CONVERT":
			found := r.match.FindStringSubmatchIndex(at)
			return strings.TrimPrefix(string(r.match.ExpandString(nil, r.replace, at, found)), imageScheme), nil
		}
		return name, nil
	}
	return name, nil
}

// Package expand replaces variables in the words of a Dockerfile and keeps their scopes: the global one before the first
// FROM and that of each stage (dockerfile.md §3). It is pure.
package expand

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxSize bounds what a word may become: a few lines that double a variable each would fill the memory.
const maxSize = 1 << 20

// maxDepth bounds how deep values may be nested in each other ("${A:-${B:-…}}"): time grows with its square.
const maxDepth = 200

// lexed is a word as the lexer takes it: it would print what it has against bytes that are no UTF-8, which become U+FFFD, and NUL, and
// its time grows with the square of the depth.
func lexed(word string) (string, error) {
	depth := 0
	for i := range len(word) {
		switch {
		case word[i] == 0:
			return "", errors.New("invalid character NUL")
		case word[i] == '}':
			depth = max(depth-1, 0)
		case word[i] == '{' && i > 0 && word[i-1] == '$':
			if depth++; depth > maxDepth {
				return "", fmt.Errorf("variables are nested in each other more than %d deep", maxDepth)
			}
		}
	}
	if !utf8.ValidString(word) {
		word = string([]rune(word))
	}
	return word, nil
}

// Scope is what variables mean at one place of a Dockerfile: a value, changed by ENV and ARG from line to line.
type Scope struct {
	// Escape is the escape character of the file.
	Escape rune
	// Env are the variables as "K=V", each name once: the last writer wins, be it ENV or ARG.
	Env []string
	// Declared are the names of ARG instructions, with or without a value, in the order of the file.
	Declared []string
}

// variables are looked up by the lexer, of which most words have none.
type variables []string

// Get implements shell.EnvGetter.
func (v variables) Get(key string) (string, bool) { return Get(v, key) }

// Keys implements shell.EnvGetter.
func (v variables) Keys() []string {
	keys := make([]string, 0, len(v))
	for _, kv := range v {
		key, _, _ := strings.Cut(kv, "=")
		keys = append(keys, key)
	}
	return keys
}

// Word replaces the variables of a word and removes its quotes. unset are the names that have no value and were not
// declared, sorted.
func (s *Scope) Word(word string) (out string, unset []string, err error) {
	word, err = lexed(word)
	if err != nil {
		return "", nil, err
	}
	res, err := shell.NewLex(s.Escape).ProcessWordWithMatches(word, variables(s.Env))
	for name := range res.Unmatched {
		if !slices.Contains(s.Declared, name) {
			unset = append(unset, name)
		}
	}
	slices.Sort(unset)
	return res.Result, unset, bounded(word, res.Result, err)
}

// Expand is Word for who does not care about unset names.
func (s *Scope) Expand(word string) (string, error) {
	out, _, err := s.Word(word)
	return out, err
}

// Words is Expand with the result split at blanks that are not quoted (EXPOSE).
func (s *Scope) Words(word string) ([]string, error) {
	word, err := lexed(word)
	if err != nil {
		return nil, err
	}
	list, err := shell.NewLex(s.Escape).ProcessWords(word, variables(s.Env))
	return list, bounded(word, strings.Join(list, " "), err)
}

// Body expands the body of a here-document: quotes stay, and the backslash is the escape character whatever the
// file says (dockerfile.md §2.8).
func (s *Scope) Body(text string) (string, error) {
	text, err := lexed(text)
	if err != nil {
		return "", err
	}
	lex := shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	out, _, err := lex.ProcessWord(text, variables(s.Env))
	return out, bounded(text, out, err)
}

// bounded judges a result. The lexer reports the end of the word as a modifier: what is missing there is the brace.
func bounded(word, out string, err error) error {
	switch {
	case err == nil && len(out) > maxSize:
		return errors.New("the value is larger than 1 MiB after expansion")
	case err != nil && strings.Contains(err.Error(), "unsupported modifier (\ufffd)"):
		return fmt.Errorf("failed to process %q: syntax error: missing '}'", word)
	}
	return err
}

// Set sets a variable, as ENV does.
func (s *Scope) Set(key, value string) { s.Env = Set(s.Env, key, value) }

// Arg does an ARG instruction, whose names see each other from left to right: the caller's value, else the default, else
// that of the outer scope, else the name is declared without a value. A default that is not used is not looked at.
func (s *Scope) Arg(c *instructions.ArgCommand, given map[string]string, outer []string) error {
	for _, a := range c.Args {
		value, ok := given[a.Key]
		switch {
		case ok:
		case a.Value != nil:
			var err error
			if value, err = s.Expand(*a.Value); err != nil {
				return err
			}
			ok = true
		default:
			value, ok = Get(outer, a.Key)
		}
		s.Declared = append(s.Declared[:len(s.Declared):len(s.Declared)], a.Key)
		if ok {
			s.Set(a.Key, value)
		}
	}
	return nil
}

// History is what the history says of the declared arguments in front of a command, "|2 A=1 B=2 ": those that have a value,
// sorted, or nothing.
func (s *Scope) History() string {
	var list []string
	names := slices.Clone(s.Declared)
	slices.Sort(names)
	for _, k := range slices.Compact(names) {
		if v, ok := Get(s.Env, k); ok {
			list = append(list, k+"="+v)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("|%d %s ", len(list), strings.Join(list, " "))
}

// Set returns env with a variable set, in place if it is there. The argument stays as it is.
func Set(env []string, key, value string) []string {
	if i := index(env, key); i >= 0 {
		env = slices.Clone(env)
		env[i] = key + "=" + value
		return env
	}
	return append(env[:len(env):len(env)], key+"="+value)
}

// Get looks up a variable.
func Get(env []string, key string) (string, bool) {
	if i := index(env, key); i >= 0 {
		return env[i][len(key)+1:], true
	}
	return "", false
}

// index finds the variable, or -1: the last one of that name, as images may have several.
func index(env []string, key string) int {
	for i, kv := range slices.Backward(env) {
		if len(kv) > len(key) && kv[len(key)] == '=' && kv[:len(key)] == key {
			return i
		}
	}
	return -1
}

// IsProxy tells the build arguments that RUN gets without an ARG (dockerfile.md §3.6).
func IsProxy(key string) bool {
	switch strings.ToLower(key) {
	case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
		return true
	}
	return false
}

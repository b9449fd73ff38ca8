package imagebuildah

import (
	"errors"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxExpanded bounds what a word may become: a few lines that double a variable each would fill the memory.
const maxExpanded = 1 << 20

// expandWord replaces the variables in a word.
func expandWord(escape rune, word string, env []string) (string, error) {
	out, _, err := shell.NewLex(escape).ProcessWord(word, shell.EnvsFromSlice(env))
	if err == nil && len(out) > maxExpanded {
		err = errors.New("the value is larger than 1 MiB after expansion")
	}
	return out, err
}

// setenv sets a variable in a list, in place if it is there.
func setenv(env []string, key, value string) []string {
	env = slices.Clone(env)
	for i, kv := range env {
		if strings.HasPrefix(kv, key+"=") {
			env[i] = key + "=" + value
			return env
		}
	}
	return append(env, key+"="+value)
}

func getenv(env []string, key string) (string, bool) {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v, true
		}
	}
	return "", false
}

// isProxy tells the build arguments that need no ARG (dockerfile.md §3.6).
func isProxy(key string) bool {
	switch strings.ToLower(key) {
	case "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy":
		return true
	}
	return false
}

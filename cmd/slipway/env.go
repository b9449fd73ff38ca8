package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/builder"
)

// env reads the variables of the caller: the one place that does.
type env struct{ lookup func(string) (string, bool) }

// hostEnvironment adds the variables that containers.conf gives this program, before anything looks one up.
func hostEnvironment() {
	for _, kv := range builder.HostEnvironment(os.LookupEnv) {
		name, value, _ := strings.Cut(kv, "=")
		_ = os.Setenv(name, value) // fails for names that no variable can have
	}
}

// get looks a name up under our own prefix first, then under the family's.
func (e env) get(name string) string {
	for _, prefix := range []string{"SLIPWAY_", "BUILDAH_"} {
		if v, ok := e.lookup(prefix + name); ok && v != "" {
			return v
		}
	}
	return ""
}

// own looks a name up under our prefix only.
func (e env) own(name string) string {
	v, _ := e.lookup("SLIPWAY_" + name)
	return v
}

func (e env) plain(name string) string {
	v, _ := e.lookup(name)
	return v
}

// list is what commas separate in a variable.
func (e env) list(name string) []string {
	return strings.FieldsFunc(e.plain(name), func(r rune) bool { return r == ',' })
}

// matching are the variables "K=V" of a name, or of all names that begin with what stands before a final "*".
func (e env) matching(pattern string) (list []string) {
	prefix, many := strings.CutSuffix(pattern, "*")
	for _, kv := range os.Environ() {
		k, _, _ := strings.Cut(kv, "=")
		if k == pattern || many && strings.HasPrefix(k, prefix) {
			list = append(list, kv)
		}
	}
	return list
}

// forGit is what git is told of the environment: enough to find itself, an agent with keys and proxies.
func (e env) forGit() (list []string) {
	for _, k := range []string{"PATH", "SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LANG"} {
		if v, ok := e.lookup(k); ok {
			list = append(list, k+"="+v)
		}
	}
	return list
}

// cacheLimit is what a build keeps of the cache: the store's own limit, or SLIPWAY_CACHE_SIZE and SLIPWAY_CACHE_AGE, 0 for none.
func (e env) cacheLimit(s *builder.Store) (*builder.CacheLimit, error) {
	limit := s.DefaultCacheLimit()
	if text := e.own("CACHE_SIZE"); text != "" {
		n, err := units.FromHumanSize(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("invalid $SLIPWAY_CACHE_SIZE %q: want a size such as 5GB", text)
		}
		limit.Size = n
	}
	if text := e.own("CACHE_AGE"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("invalid $SLIPWAY_CACHE_AGE %q: want a duration such as 168h", text)
		}
		limit.Unused = d
	}
	if limit == (builder.CacheLimit{}) {
		return nil, nil
	}
	return &limit, nil
}

// isolation reads --isolation, or the variable when the flag was not given.
func (e env) isolation(flag string) (builder.Isolation, error) {
	if flag != "" {
		return isolation(flag, "unrecognized isolation type")
	}
	return isolation(e.get("ISOLATION"), "unrecognized $BUILDAH_ISOLATION value")
}

func isolation(text, complaint string) (builder.Isolation, error) {
	switch strings.ToLower(text) {
	case "", "default":
		return builder.IsolationDefault, nil
	case "native", "rootless":
		return builder.IsolationRootless, nil
	case "oci":
		return builder.IsolationOCI, nil
	case "chroot":
		return builder.IsolationChroot, nil
	}
	return "", fmt.Errorf("%s %q", complaint, text)
}

// epoch reads SOURCE_DATE_EPOCH, nil if unset.
func (e env) epoch() (*time.Time, error) {
	t, err := seconds(e.plain("SOURCE_DATE_EPOCH"))
	if err != nil {
		return nil, fmt.Errorf("$SOURCE_DATE_EPOCH: %w", err)
	}
	return t, nil
}

func seconds(text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("invalid time %q: want seconds since 1970", text)
	}
	t := time.Unix(n, 0).UTC()
	if y := t.Year(); n < -1<<40 || n > 1<<40 || y < 0 || y > 9999 {
		return nil, fmt.Errorf("invalid time %q: want seconds since 1970, in a year up to 9999", text) // the time of an image has four digits
	}
	return &t, nil
}

package imagebuildah

import (
	"fmt"
	"strconv"

	"github.com/slipway-build/slipway/imagebuildah/expand"
)

// Build arguments that say something to the builder itself (dockerfile.md §3.7). Those in capitals are the caller's to follow, with [BoolArg].
const (
	ArgKeepGit    = "BUILDKIT_CONTEXT_KEEP_GIT_DIR" // Fetch.KeepGit
	ArgList       = "BUILDKIT_MULTI_PLATFORM"       // Options.List
	argCheck      = "BUILDKIT_DOCKERFILE_CHECK"     // package lint
	argHostname   = "BUILDKIT_SANDBOX_HOSTNAME"
	argCacheSpace = "BUILDKIT_CACHE_MOUNT_NS"
)

// consumed tells whether a build argument is of use without an ARG.
func consumed(name string) bool {
	switch name {
	case ArgKeepGit, ArgList, argCheck, argHostname, argCacheSpace, epochArg:
		return true
	}
	return expand.IsProxy(name)
}

// BoolArg is a build argument that is true or false, false if it is not there.
func BoolArg(args map[string]string, name string) (bool, error) {
	text := args[name]
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("build argument %s is %q: it can be true or false", name, text)
	}
	return on, nil
}

// hostname is what RUN's host is called.
func (b *build) hostname() string { return first(b.o.Args[argHostname], "buildkitsandbox") }

package archtest

// module is the path that our own packages begin with.
const module = "github.com/slipway-build/slipway"

// An arrow says which of our packages a tree may import. Paths are relative to
// the module; an entry covers the packages below it too.
type arrow struct {
	tree string
	may  []string
}

// arrows returns the import graph, the most specific tree first. Test files may
// use anything.
func arrows() []arrow {
	return []arrow{
		{"tests", []string{"internal", "builder", "copier", "imagebuildah", "tests"}},
		{"cmd", []string{"imagebuildah", "builder", "copier", "internal", "cmd"}},
		{"imagebuildah", []string{"imagebuildah", "builder", "copier", "internal"}},
		{"builder/config", nil},
		{"builder/internal/manifest", []string{"builder/config", "internal"}},
		{"builder/internal/namefiles", nil},
		{"internal/runchild", []string{"internal", "copier/rootfs"}},
		{"builder", []string{"builder", "copier", "internal"}},
		{"copier/rootfs", []string{"internal"}},
		{"copier/untar", []string{"copier/rootfs", "internal"}},
		{"copier", []string{"copier", "internal"}},
		{"internal/early", []string{"internal", "copier/rootfs", "copier/untar"}},
		{"internal", []string{"internal"}},
	}
}

// A confinement keeps a dependency inside a few trees of ours.
type confinement struct {
	dependency string
	trees      []string
}

// confinements returns the table of heavy or dangerous dependencies. What is not
// named here may be used where the arrows reach. The most specific row decides:
// storage's children are dispatched by main, before anything else.
func confinements() []confinement {
	return []confinement{
		{"github.com/spf13/cobra", []string{"cmd"}},
		{"github.com/spf13/pflag", []string{"cmd"}},
		{"github.com/containers/image/v5", []string{"builder", "tests"}},
		{"github.com/containers/storage/pkg/reexec", []string{"builder", "cmd", "tests"}},
		{"github.com/containers/storage", []string{"builder", "tests"}},
		{"github.com/moby/buildkit", []string{"imagebuildah"}},
		{"github.com/opencontainers/selinux", []string{"builder"}},
		{"github.com/opencontainers/runtime-spec", []string{"builder"}},
		{"github.com/elastic/go-seccomp-bpf", []string{"builder/internal", "internal/early"}},
		{"github.com/rogpeppe/go-internal", []string{"tests"}},
		{"github.com/sirupsen/logrus", []string{"cmd"}},
	}
}

// light returns the trees that take part in the early start: they import the
// standard library, x/sys and each other only, since every package behind them is
// initialised before `version` can answer.
func light() []string {
	return []string{
		"internal/early", "internal/early/child", "internal/early/unpack", "internal/early/user", "internal/caps", "internal/idmap", "internal/userns", "internal/version", "copier/rootfs", "copier/untar",
		"internal/runchild",
	}
}

// talkers returns the trees that may read the environment or write to the
// process's own streams: the command, and what runs as a process of its own.
func talkers() []string {
	return []string{"cmd", "tests", "internal/early", "internal/userns", "internal/runchild", "builder/reexec"}
}

// A ban names an identifier that no file may mention, with the reason. Except is the one tree that may.
type ban struct {
	name, reason, except string
}

// bans returns the forbidden selectors and field names.
func bans() []ban {
	const clone = "namespaces are entered by clone flags only; default pod filters refuse this"
	return []ban{
		{"MaybeReexecUsingUserNamespace", "without cgo it re-executes itself without end", ""},
		{"unix.Unshare", clone, ""},
		{"unix.Setns", clone, "builder/internal/runner/native"}, // joining a namespace that the user names needs it
		{"syscall.Unshare", clone, ""},
		{"unix.SYS_UNSHARE", clone, ""},
		{"unix.SYS_SETNS", clone, ""},
		{"syscall.SYS_UNSHARE", clone, ""},
		{"Unshareflags", clone, ""},
	}
}

package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
)

// completing tells whether a shell asks for completions.
func completing(args []string) bool {
	return len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd)
}

// completable has the commands offer names from storage for their arguments, and the words that their flags take.
func completable(root *cobra.Command, g *globals) {
	g.err = io.Discard // it would get between the prompt and what is typed
	each(root, func(cmd *cobra.Command) {
		command := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		if kinds := strings.Fields(argumentKinds(command)); len(kinds) > 0 {
			cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				return g.offer(cmd, kinds[min(len(args), len(kinds)-1)], begun)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, f.Usage = pflag.UnquoteUsage(f)
			if kind := flagKinds(command, f.Name); kind != "" {
				_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
					return g.offer(cmd, kind, begun)
				})
			}
		})
	})
}

// argumentKinds says what the arguments of a command are, one after the other; the last word stands for all that follow. "A|B" is either.
func argumentKinds(command string) string {
	switch command {
	case "rm", "mount", "umount":
		return "CONTAINER"
	case "config", "rename":
		return "CONTAINER NOTHING"
	case "add", "copy", "run":
		return "CONTAINER FILE"
	case "commit":
		return "CONTAINER IMAGE"
	case "inspect":
		return "CONTAINER|IMAGE NOTHING"
	case "push":
		return "IMAGE FILE"
	case "from", "history", "images", "pull":
		return "IMAGE NOTHING"
	case "rmi", "save", "tag", "untag":
		return "IMAGE"
	case "manifest exists", "manifest inspect", "manifest push":
		return "LIST NOTHING"
	case "manifest rm":
		return "LIST"
	case "manifest add", "manifest annotate", "manifest remove":
		return "LIST IMAGE"
	case "manifest create":
		return "NOTHING IMAGE"
	case "containers", "doctor", "info", "prune", "version", "system df":
		return "NOTHING"
	case "build":
		return "DIRECTORY"
	}
	return ""
}

// flagKinds says what the value of a flag is: of a kind of argument, or one of several words.
func flagKinds(command, flag string) string {
	switch command + " --" + flag {
	case "build --format", "commit --format", "from --format":
		return "oci|docker"
	case "push --format", "manifest push --format":
		return "oci|v2s1|v2s2"
	case "save --format":
		return "docker-archive|oci-archive"
	case "add --from", "copy --from":
		return "CONTAINER|IMAGE"
	case "build --from":
		return "IMAGE"
	case "images --filter":
		return "after=|before=|containers=|dangling=|digest=|id=|intermediate=|label=|manifest=|readonly=|reference=|since=|until="
	case "containers --filter":
		return "ancestor=|id=|name="
	case "inspect --type":
		return "container|image|manifest"
	case "unshare --mount":
		return "CONTAINER"
	}
	switch flag {
	case "isolation":
		return "native|oci|chroot|rootless"
	case "pull":
		return "missing|always|newer|never"
	case "policy":
		return "missing|always|ifnewer|never"
	case "network":
		return "host|none|private|pasta"
	case "cgroupns", "ipc", "pid", "uts":
		return "private|host"
	case "compression-format":
		return "gzip|zstd|zstd:chunked"
	case "on-failure":
		return "remove|keep|shell"
	case "progress":
		return "auto|plain|tty|json"
	case "log-level":
		return "trace|debug|info|warn|error|fatal|panic"
	case "storage-driver":
		return "overlay|vfs"
	case "ownership":
		return "record|ignore|fail"
	case "cgroup-manager":
		return "cgroupfs|systemd"
	case "root", "runroot", "imagestore", "registries-conf-dir", "cert-dir", "contextdir":
		return "DIRECTORY"
	}
	return ""
}

// offer completes what was begun with the words of a kind. Without a storage that opens there is nothing to offer.
func (g *globals) offer(cmd *cobra.Command, kind, begun string) ([]string, cobra.ShellCompDirective) {
	switch kind {
	case "FILE":
		return nil, cobra.ShellCompDirectiveDefault
	case "DIRECTORY":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case "NOTHING":
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if strings.Contains(kind, "=") { // what is before a value
		return strings.Split(kind, "|"), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	if kind == strings.ToLower(kind) {
		return strings.Split(kind, "|"), cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	if err := g.prepare(cmd, nil); err == nil {
		_ = g.withStore(func(_ context.Context, s *builder.Store, _ []string) error {
			for one := range strings.SplitSeq(kind, "|") {
				names = append(names, namesOf(s, one, begun)...)
			}
			return nil
		})(cmd, nil)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// namesOf are the names of containers, images or lists; of the last two the short ones, where only they begin as what was typed.
func namesOf(s *builder.Store, kind, begun string) (names []string) {
	if kind == "CONTAINER" {
		list, _ := s.Containers(false)
		for _, c := range list {
			names = append(names, c.Name+"\t"+c.ImageName)
		}
		return names
	}
	list, _ := s.Images()
	for _, img := range list {
		if kind == "IMAGE" || img.Index() != nil {
			names = append(names, img.Names()...)
		}
	}
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, begun) }) {
		return names
	}
	for i, n := range names {
		names[i] = strings.TrimPrefix(strings.TrimPrefix(n, "localhost/"), "docker.io/library/")
	}
	return names
}

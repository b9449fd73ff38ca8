package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/version"
)

// globals are the global flags and the streams of one invocation.
type globals struct {
	program  string
	store    builder.StoreOptions
	logLevel string
	debug    bool
	profile  profile
	env      env
	in       *os.File
	umask    int   // the caller's
	helpErr  error // of a request for the help of what isn't there
	out, err io.Writer
}

// run is the whole program: it builds a fresh tree of commands, so that tests can call it, and returns the exit status.
func run(args []string, stdin *os.File, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal ends the program at once
	g := &globals{program: filepath.Base(args[0]), env: env{os.LookupEnv}, in: stdin, out: stdout, err: stderr}
	root := newRoot(g, args[1:])
	root.SetArgs(args[1:])
	texts := &checked{to: stdout}
	root.SetOut(texts)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	err = errors.Join(err, g.profile.write())
	if err == nil {
		err = errors.Join(g.helpErr, texts.err)
	}
	if err == nil {
		return 0
	}
	var silent *silentError
	if !errors.As(err, &silent) {
		text := oneLine(suggest(g, root, cmd, err))
		if ctx.Err() != nil {
			text = strings.ReplaceAll(text, context.Canceled.Error(), "interrupted by a signal")
		}
		fmt.Fprintf(stderr, "Error: %s\n", text)
	}
	return exitCode(err, g.env.own("EXIT_CODES") == "shell")
}

// checked keeps the error of a writer for those who print and do not look: cobra's help.
type checked struct {
	to  io.Writer
	err error
}

// Write implements io.Writer.
func (c *checked) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// newRoot is the tree of commands: of the one that args call, or of all where they name none. Making them all costs
// a twentieth of a short command's time.
func newRoot(g *globals, args []string) *cobra.Command {
	root := &cobra.Command{
		Use: g.program, Short: "Build OCI container images without a daemon",
		Long:          "Slipway builds OCI container images without a daemon: step by step in working containers, or from Dockerfiles.",
		Example:       "  c=$(PROGRAM from debian)\n  run $c -- apt-get update\n  commit --rm $c app\n  build -t app .",
		SilenceErrors: true, SilenceUsage: true, Version: version.Version,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(args[0], cmd)
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: g.prepare,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate(version.Line(g.program))
	globalFlags(root, g)
	addGroups(root)
	for _, e := range called(root, args) {
		c := e.make(g)
		c.Aliases = strings.Fields(e.names)[1:]
		c.GroupID = e.group
		strict(c)
		root.AddCommand(c)
	}
	addHelp(root, g)
	if completing(args) {
		completable(root, g)
	}
	return root
}

// called is the entry of the command that args call, or all entries. The search is cobra's own, so that it can't
// differ from the one that follows.
func called(root *cobra.Command, args []string) []entry {
	all := entries()
	found := map[*cobra.Command]int{}
	for i, e := range all {
		names := strings.Fields(e.names)
		stub := &cobra.Command{Use: names[0], Aliases: names[1:]}
		root.AddCommand(stub)
		found[stub] = i
	}
	cmd, _, err := root.Find(args)
	root.ResetCommands()
	if i, ok := found[cmd]; ok && err == nil {
		return all[i : i+1]
	}
	return all
}

// The groups of commands in the help text.
const (
	images     = "images"
	containers = "containers"
	system     = "system"
	other      = "other"
)

func addGroups(root *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: images, Title: "Image Commands:"}, &cobra.Group{ID: containers, Title: "Container Commands:"},
		&cobra.Group{ID: system, Title: "System Commands:"}, &cobra.Group{ID: other, Title: "Other Commands:"})
	root.SetHelpCommandGroupID(other)
	root.SetCompletionCommandGroupID(other)
}

// An entry is a command before it is made.
type entry struct {
	names string // the name and the aliases
	group string
	make  func(*globals) *cobra.Command
}

// entries lists the commands, each made by a function in a file of its name, or of the command that it undoes (mount, save, tag, login) or
// shares all with (copy).
func entries() []entry {
	return []entry{
		{"history", images, newHistoryCmd},
		{"images", images, newImagesCmd},
		{"load", images, newLoadCmd},
		{"mkcw", images, newMkcwCmd},
		{"pull", images, newPullCmd},
		{"push", images, newPushCmd},
		{"rmi", images, newRmiCmd},
		{"save", images, newSaveCmd},
		{"source", images, newSourceCmd},
		{"tag", images, newTagCmd},
		{"untag", images, newUntagCmd},
		{"add", containers, newAddCmd},
		{"commit", containers, newCommitCmd},
		{"config", containers, newConfigCmd},
		{"containers list ls ps", containers, newContainersCmd},
		{"copy", containers, newCopyCmd},
		{"from", containers, newFromCmd},
		{"mount", containers, newMountCmd},
		{"rename", containers, newRenameCmd},
		{"rm delete", containers, newRmCmd},
		{"run", containers, newRunCmd},
		{"umount unmount", containers, newUmountCmd},
		{"doctor", system, newDoctorCmd},
		{"info", system, newInfoCmd},
		{"prune", system, newPruneCmd},
		{"system", system, newSystemCmd},
		{"login", system, newLoginCmd},
		{"logout", system, newLogoutCmd},
		{"unshare", system, newUnshareCmd},
		{"version", system, newVersionCmd},
		{"build bud build-using-dockerfile", other, newBuildCmd},
		{"inspect", other, newInspectCmd},
		{"manifest", other, newManifestCmd},
		{"docs", "", newDocsCmd},
	}
}

// interspersed are the commands that take flags behind arguments (cli.md §1).
const interspersed = " containers info login version rename tag "

// strict makes a command refuse options behind its first argument, before it looks at anything else.
func strict(c *cobra.Command) {
	if c.HasSubCommands() || strings.Contains(interspersed, " "+c.Name()+" ") {
		return
	}
	c.Flags().SetInterspersed(false)
	args := c.Args
	c.Args = func(cmd *cobra.Command, list []string) error {
		checked := list
		if c.Name() == "run" || c.Name() == "unshare" {
			checked = list[:min(1, len(list))]
		}
		for i, a := range checked {
			if i > 0 && strings.HasPrefix(a, "-") && a != "-" && cmd.ArgsLenAtDash() != 0 {
				return fmt.Errorf("no options (%s) can be specified after the image or container name", a)
			}
		}
		if args == nil {
			return nil
		}
		return args(cmd, list)
	}
}

// remedy says what helps against a registry's refusal, as far as the command has flags for it; empty for nothing.
func remedy(text string, cmd *cobra.Command) string {
	has := func(flag string) bool { return cmd.Flags().Lookup(flag) != nil }
	switch {
	case strings.Contains(text, "server gave HTTP response to HTTPS client") && has("tls-verify"):
		return "for a registry without TLS use --tls-verify=false, or insecure = true in registries.conf"
	case !strings.Contains(text, "docker://"):
	case strings.Contains(text, "certificate signed by unknown authority") && has("cert-dir"):
		return "--cert-dir names a directory with the authority's certificate, as ca.crt"
	case (strings.Contains(text, "authentication required") || strings.Contains(text, "unauthorized")) && has("creds"):
		return "the registry wants credentials: store them with " + cmd.Root().Name() + " login, or give them with --creds or --authfile"
	}
	return ""
}

// suggest adds to an error what may have been meant, flags and commands of a similar name, and what helps with registries.
func suggest(g *globals, root, cmd *cobra.Command, err error) string {
	text := err.Error()
	if word, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		if like := flagsLike(cmd, word); len(like) > 0 {
			text += ": did you mean this? --" + strings.Join(like, ", --")
		}
		return text
	}
	if remedy := remedy(text, cmd); remedy != "" {
		return text + ": " + remedy
	}
	if cmd != root || !strings.HasPrefix(text, "unknown command") {
		return text
	}
	word := strings.SplitN(text, `"`, 3)[1]
	if close := root.SuggestionsFor(word); len(close) > 0 {
		text = fmt.Sprintf("%s: did you mean this? %s", strings.SplitN(text, "\n", 2)[0], strings.Join(close, ", "))
	}
	return text
}

// flagsLike are the flags of a command whose names are near to a word, as cobra finds commands.
func flagsLike(cmd *cobra.Command, word string) []string {
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		}
	})
	return names.SuggestionsFor(word)
}

// credentialsThere refuses a file of credentials that is not there, also where none will be asked for: it is a mistake (cli.md §8.1).
func credentialsThere(cmd *cobra.Command) error {
	file := cmd.Flags().Lookup("authfile")
	if file == nil || !file.Changed || file.Value.String() == "" {
		return nil
	}
	if _, err := os.Stat(file.Value.String()); err != nil {
		return fmt.Errorf("credential file is not accessible: %w", err)
	}
	return nil
}

// withStore runs f with the open store. The mask of modes is the family's from here on: storage makes the directories of layers with
// the caller's, and a stricter one would get into images, as root directories that nobody but root may enter.
func (g *globals) withStore(f func(ctx context.Context, s *builder.Store, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		if err := credentialsThere(cmd); err != nil {
			return err
		}
		g.umask = syscall.Umask(0o022)
		s, err := g.openStore()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		return g.fullDisk(s, f(cmd.Context(), s, args))
	}
}

// openStore opens the store. Where the directory for run-time files is named, the storage library, which makes the default one all the same,
// is told another: it would leave a directory in that for temporary files, and fail if that name is another user's there.
func (g *globals) openStore() (*builder.Store, error) {
	const variable = "XDG_RUNTIME_DIR"
	if g.store.RunRoot == "" || g.env.plain(variable) != "" {
		return builder.Open(g.store)
	}
	dir, err := g.runRoot()
	if err != nil {
		return nil, err
	}
	made := filepath.Join(dir, "containers")
	if _, err := os.Lstat(made); errors.Is(err, fs.ErrNotExist) {
		defer os.Remove(made) //nolint:errcheck // it is empty, or somebody's
	}
	if err := os.Setenv(variable, dir); err != nil {
		return nil, err
	}
	defer os.Unsetenv(variable) //nolint:errcheck // it was not set, or empty
	return builder.Open(g.store)
}

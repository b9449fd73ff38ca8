package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newDocsCmd is for `make docs` and `make install`: pages of the commands, made from the same tree that parses.
func newDocsCmd(*globals) *cobra.Command {
	return &cobra.Command{
		Use: "docs markdown|man DIR", Short: "Write a page for each command", Hidden: true,
		Example: "  docs man /usr/local/share/man/man1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] != "markdown" && args[0] != "man" {
				return errors.New("a kind of page, markdown or man, and a directory must be specified")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			for name, text := range referencePages(args[0]) {
				if err := os.WriteFile(filepath.Join(args[1], name), []byte(text), 0o644); err != nil { //nolint:gosec // documentation
					return err
				}
			}
			return nil
		},
	}
}

// referencePages are the texts of all pages by file name. They don't depend on the environment or the program's name.
func referencePages(kind string) map[string]string {
	root := newRoot(&globals{program: "slipway", env: env{func(string) (string, bool) { return "", false }}}, nil)
	pages := map[string]string{}
	var index strings.Builder
	index.WriteString("# Commands\n\nMade by `make docs` from the program's own help.\n\n")
	each(root, func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		cmd.InitDefaultHelpFlag()
		file := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		if kind == "man" {
			pages[file+".1"] = manPage(cmd, file)
			for _, alias := range cmd.Aliases {
				pages[cmd.Parent().Name()+"-"+alias+".1"] = ".so man1/" + file + ".1\n"
			}
			return
		}
		pages[file+".md"] = markdownPage(cmd)
		fmt.Fprintf(&index, "- [%s](%s.md): %s\n", cmd.CommandPath(), file, cmd.Short)
	})
	if kind == "markdown" {
		pages["README.md"] = index.String()
	}
	return pages
}

// option is a flag as pages show it.
type option struct{ names, value, help string }

func options(fs *pflag.FlagSet) (list []option) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		o := option{names: "--" + f.Name}
		if f.Shorthand != "" {
			o.names = "-" + f.Shorthand + ", " + o.names
		}
		o.value, o.help = pflag.UnquoteUsage(f)
		switch f.DefValue {
		case "", "false", "0", "[]", "0s", "<nil>":
		default:
			o.help += " (default " + f.DefValue + ")"
		}
		list = append(list, o)
	})
	return list
}

// synopsis is the usage line of a command.
func synopsis(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " [flags] [command]"
	}
	return cmd.UseLine()
}

func description(cmd *cobra.Command) string {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	return strings.TrimSuffix(strings.TrimSpace(text), ".") + "."
}

func markdownPage(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n    %s\n", cmd.CommandPath(), description(cmd), synopsis(cmd))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, "\nOther names: `%s`.\n", strings.Join(cmd.Aliases, "`, `"))
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\n## Examples\n\n%s\n", strings.ReplaceAll("\n"+cmd.Example, "\n  ", "\n    ")[1:])
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n## Commands\n\n")
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				fmt.Fprintf(&b, "- [%s](%s.md): %s\n", c.Name(), strings.ReplaceAll(c.CommandPath(), " ", "-"), c.Short)
			}
		}
	}
	b.WriteString("\n## Flags\n\n")
	for _, o := range options(cmd.LocalFlags()) {
		fmt.Fprintf(&b, "- `%s`: %s\n", strings.TrimSpace(o.names+" "+o.value), o.help)
	}
	return b.String()
}

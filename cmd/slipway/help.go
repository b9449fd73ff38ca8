package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageTemplate is the help text below the description (exact.md §cli.md §1): one usage line, command lists before flags,
// no flags of the whole program in the help of a command.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} [flags] [command]{{else}}{{.UseLine}}{{end}}{{if .Aliases}}

Aliases:
  {{.NameAndAliases}}{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{$cmds := .Commands}}{{if .HasAvailableSubCommands}}{{if not .Groups}}

Available Commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableSubCommands}}

Use "{{.CommandPath}} [command] --help" for more information about a command.{{end}}
`

// addHelp gives the tree its help texts, the command help, and examples that name the program.
func addHelp(root *cobra.Command, g *globals) {
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(newHelpCmd(root))
	root.InitDefaultHelpCmd()
	show := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		// An unknown command is an error with --help too, which a help function can only note.
		if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
			g.helpErr = unknownCommand(rest[0], cmd)
			return
		}
		show(cmd, args)
	})
	each(root, func(cmd *cobra.Command) { cmd.Example = programExamples(cmd, g.program) })
}

func newHelpCmd(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [flags] [COMMAND...]", Short: "Help about any command", Long: "Print the help of a command, as COMMAND --help does.",
		Example: "  help build\n  help manifest add", GroupID: other,
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				if err != nil || cmd.HasSubCommands() {
					return unknownCommand(append(rest, args...)[0], cmd)
				}
				return fmt.Errorf("%q has no commands", cmd.CommandPath())
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}

func unknownCommand(name string, of *cobra.Command) error {
	return fmt.Errorf("unknown command %q for %q", name, of.CommandPath())
}

// each calls f with a command and all below it.
func each(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		each(c, f)
	}
}

// programExamples puts the program's name before example lines that begin with a command.
func programExamples(cmd *cobra.Command, program string) string {
	lines := strings.Split(cmd.Example, "\n")
	for i, line := range lines {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if found, _, err := cmd.Root().Find([]string{word}); word != "" && err == nil && found != cmd.Root() {
			line = "  " + program + " " + strings.TrimSpace(line)
		}
		lines[i] = strings.ReplaceAll(line, "PROGRAM ", program+" ")
	}
	return strings.Join(lines, "\n")
}

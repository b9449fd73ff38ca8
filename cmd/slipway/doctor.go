package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newDoctorCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor [flags]", Short: "Say what this environment permits, and what would provide the rest", Args: cobra.NoArgs,
		Long: "Say what this environment permits, and what would provide the rest.\n\n" +
			"Each line is something that builds may need, whether it is here, and what was found; below what is missing stands what needs it, and what would\n" +
			"provide it. A storage that cannot be used is an error.",
		Example: "  doctor\n  doctor --json",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		list := builder.Examine(g.store)
		write := findingTable
		if asJSON {
			write = func(w io.Writer, list []builder.Finding) error { return writeJSON(w, list) }
		}
		if err := write(g.out, list); err != nil {
			return err
		}
		for _, f := range list {
			if f.Name == "storage" && !f.Here {
				return errors.New(f.Found)
			}
		}
		return nil
	}
	return cmd
}

func findingTable(w io.Writer, list []builder.Finding) error {
	tw := tabwriter.NewWriter(w, 0, 2, 3, ' ', 0)
	for _, f := range list {
		here := "yes"
		if !f.Here {
			here = "no"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Name, here, f.Found)
		if !f.Here && f.Needed != "" {
			fmt.Fprintf(tw, "\t\tneeded by %s\n", f.Needed)
		}
		if f.Remedy != "" {
			fmt.Fprintf(tw, "\t\t%s\n", f.Remedy)
		}
	}
	return tw.Flush()
}

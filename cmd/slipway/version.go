package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/internal/version"
)

func newVersionCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version [flags]", Short: "Say which Slipway this is", Example: "  version --json", Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		text := version.Text()
		if asJSON {
			text = version.JSON()
		}
		_, err := io.WriteString(g.out, text)
		return err
	}
	return cmd
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newRenameCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "rename [flags] CONTAINER NAME", Short: "Rename a working container", Example: "  rename work done", Args: cobra.ExactArgs(2)}
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		return c.Rename(args[1])
	})
	return cmd
}

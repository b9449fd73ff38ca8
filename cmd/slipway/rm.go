package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newRmCmd(g *globals) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "rm [flags] [CONTAINER...]", Short: "Delete working containers", Example: "  rm work\n  rm --all",
		Args: allOrNamed(&all, "container ID must be specified", "when using the --all switch, you may not pass any containers names or IDs"),
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "all working containers")
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		names, err := chosen(s, all, args)
		if err != nil {
			return err
		}
		return g.each(names, func(name string) error {
			c, err := s.Container(name)
			if errors.Is(err, builder.ErrNoContainer) {
				err = builder.ErrNoContainer
			}
			if err == nil {
				err = c.Remove()
			}
			if err != nil {
				return fmt.Errorf("removing container %q: %w", name, err)
			}
			_, err = fmt.Fprintln(g.out, c.ID())
			return err
		})
	})
	return cmd
}

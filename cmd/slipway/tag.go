package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newTagCmd(g *globals) *cobra.Command {
	var r builder.Registry
	cmd := &cobra.Command{Use: "tag [flags] IMAGE NAME [NAME...]", Short: "Give an image more names", Args: cobra.MinimumNArgs(2),
		Long:    "Give an image more names, in local storage, or in its repository in a registry without pulling it.",
		Example: "  tag app registry.example/app:1\n  tag docker://registry.example/app:1 docker://registry.example/app:stable"}
	registryFlags(cmd.Flags(), g, &r)
	retryFlags(cmd.Flags(), &r)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if strings.HasPrefix(args[0], "docker://") {
			return s.RetagRemote(ctx, args[0], args[1:], r)
		}
		return s.Tag(args[0], args[1:]...)
	})
	return cmd
}

func newUntagCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "untag [flags] IMAGE [NAME...]", Short: "Take names from an image, which stays", Args: atLeast(1, "an image must be specified"),
		Long:    "Take names from an image, which stays: those given, or all it has.",
		Example: "  untag app registry.example/app:1\n  untag app"}
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error { return s.Untag(args[0], args[1:]...) })
	return cmd
}

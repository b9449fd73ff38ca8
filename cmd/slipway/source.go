package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/sourceimage"
)

// newSourceCmd has the commands for source images (cli.md §13.5).
func newSourceCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "source", Short: "Make, push and pull source images",
		Long:    "Make, push and pull source images: what an image was made from, in a directory (an OCI layout) and in registries.",
		Example: "  source create app-source\n  source add app-source app.tar\n  source push app-source registry.example/app:source",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for \"%s source\"", args[0], g.program)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSourceAddCmd(), newSourceCreateCmd(g), newSourcePullCmd(g), newSourcePushCmd(g))
	return cmd
}

func newSourceCreateCmd(g *globals) *cobra.Command {
	var c sourceimage.Config
	cmd := &cobra.Command{Use: "create [flags] PATH", Short: "Make an empty source image in a new directory", Example: "  source create --author joe app-source",
		Args: exactly(1, "a path must be specified")}
	cmd.Flags().StringVar(&c.Author, "author", "", "set the `author`")
	stamp := cmd.Flags().Bool("time-stamp", true, "set the time of creation ($SOURCE_DATE_EPOCH, or now)")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if *stamp {
			t, err := g.env.epoch()
			if err != nil {
				return err
			}
			if t == nil {
				now := time.Now().UTC()
				t = &now
			}
			c.Created = t
		}
		return sourceimage.Create(args[0], c)
	}
	return cmd
}

func newSourceAddCmd() *cobra.Command {
	var annotations []string
	cmd := &cobra.Command{Use: "add [flags] PATH ARTIFACT", Short: "Add a file or a directory to a source image", Example: "  source add app-source app.tar",
		Args: exactly(2, "the path of a source image and a file or directory must be specified")}
	cmd.Flags().StringArrayVar(&annotations, "annotation", nil, "annotation `k=v` of what is added")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		m, err := pairs(annotations)
		if err != nil {
			return err
		}
		return sourceimage.Add(args[0], args[1], m)
	}
	return cmd
}

func newSourcePullCmd(g *globals) *cobra.Command {
	var o builder.PushOptions
	var quiet bool
	cmd := &cobra.Command{Use: "pull [flags] IMAGE PATH", Short: "Copy a source image from a registry to a directory",
		Example: "  source pull registry.example/app:source app-source", Args: exactly(2, "an image and a path must be specified")}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	registryFlags(cmd.Flags(), g, &o.Registry)
	retryFlags(cmd.Flags(), &o.Registry)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if !quiet {
			o.Report = g.err
		}
		_, err := s.PullSource(ctx, args[0], args[1], o)
		return err
	})
	return cmd
}

func newSourcePushCmd(g *globals) *cobra.Command {
	var o builder.PushOptions
	var quiet bool
	var digestfile string
	cmd := &cobra.Command{Use: "push [flags] PATH IMAGE", Short: "Copy a source image from a directory to a registry",
		Example: "  source push app-source registry.example/app:source", Args: exactly(2, "a path and an image must be specified")}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	cmd.Flags().StringVar(&digestfile, "digestfile", "", "write the manifest's digest to `file`")
	registryFlags(cmd.Flags(), g, &o.Registry)
	retryFlags(cmd.Flags(), &o.Registry)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if !quiet {
			o.Report = g.err
		}
		d, err := s.PushSource(ctx, args[0], args[1], o)
		if err != nil {
			return err
		}
		return pushed(s, "", d, digestfile, false)
	})
	return cmd
}

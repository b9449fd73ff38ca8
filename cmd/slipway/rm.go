package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

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

func newRmiCmd(g *globals) *cobra.Command {
	var all, force, prune bool
	var r builder.Registry
	cmd := &cobra.Command{
		Use: "rmi [flags] [IMAGE...]", Short: "Delete images, also in registries",
		Long:    "Delete images, also in registries. Steps that builds have cached stay for the next build: \"prune\" deletes them.",
		Example: "  rmi app:old\n  rmi --prune\n  rmi docker://registry.example/app:old",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && prune:
				return errors.New("when using the --all switch, you may not use --prune switch")
			case all && len(args) > 0:
				return errors.New("when using the --all switch, you may not pass any images names or IDs")
			case prune && len(args) > 0:
				return errors.New("when using the --prune switch, you may not pass any images names or IDs")
			case !all && !prune && len(args) == 0:
				return errors.New("image name or ID must be specified")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "all images that no container uses")
	fs.BoolVarP(&force, "force", "f", false, "also delete working containers that use the images")
	fs.BoolVarP(&prune, "prune", "p", false, "images without name and without images on them")
	registryFlags(fs, g, &r)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		names, err := doomed(s, all, prune, args)
		if err != nil {
			return err
		}
		return g.remove(names, func(name string) (builder.Removed, error) {
			if strings.HasPrefix(name, "docker://") {
				return s.RemoveRemote(ctx, name, force, r)
			}
			return s.RemoveImage(ctx, name, builder.RemoveOptions{Names: all || force, Containers: force})
		})
	})
	return cmd
}

// doomed lists the images to delete.
func doomed(s *builder.Store, all, prune bool, args []string) ([]string, error) {
	if !prune && !all {
		return args, nil
	}
	dangling, _, err := s.Dangling()
	if err != nil {
		return nil, err
	}
	list, err := s.Images()
	for _, i := range list {
		if !i.ReadOnly() && (all || dangling[i.ID()]) {
			args = append(args, i.ID())
		}
	}
	return args, err
}

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

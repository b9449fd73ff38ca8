package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

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

// remove deletes images or lists and prints what went: names first, then IDs (cli.md §5).
func (g *globals) remove(names []string, remove func(string) (builder.Removed, error)) error {
	var deleted []string
	var printed error
	var failed []error
	for _, name := range names {
		if slices.Contains(deleted, name) {
			continue // went with an image that was the last to be built on it
		}
		r, err := remove(name)
		printed = errors.Join(printed, lines(g.out, r.Untagged, func(n string) string { return "untagged: " + n }))
		deleted = append(deleted, r.Deleted...)
		if err != nil {
			failed = append(failed, err)
		}
	}
	if printed == nil {
		printed = lines(g.out, deleted, func(id string) string { return id })
	}
	return errors.Join(g.list(failed), printed)
}

// list says several errors under a heading (exact.md, cli.md §10.5); one is left to be said like any other.
func (g *globals) list(failed []error) error {
	if len(failed) < 2 {
		return errors.Join(failed...)
	}
	text := fmt.Sprintf("Error: %d errors occurred:\n", len(failed))
	for _, err := range failed {
		text += "\t* " + oneLine(err.Error()) + "\n"
	}
	_, err := io.WriteString(g.err, text)
	return errors.Join(err, &silentError{125})
}

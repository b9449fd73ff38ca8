package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

func newInspectCmd(g *globals) *cobra.Command {
	var format, kind string
	cmd := &cobra.Command{Use: "inspect [flags] NAME", Short: "Show what is known of a container or an image",
		Example: "  inspect work\n  inspect --type image --format '{{.OCIv1.Config.Env}}' app",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("container or image name must be specified")
			case len(args) > 1:
				return errors.New("too many arguments specified")
			case format != "" && !strings.Contains(format, "{{"):
				return fmt.Errorf("invalid format provided: %s", format)
			}
			return nil
		}}
	fs := cmd.Flags()
	fs.StringVarP(&format, "format", "f", "", "Go `template`")
	fs.StringVarP(&kind, "type", "t", "container", "look for a container, an image or a manifest list (manifest)")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if x := list(s, args[0], kind, fs.Changed("type")); x != nil {
			raw, err := x.JSON()
			if err != nil {
				return err
			}
			return g.printIndented(raw)
		}
		v, err := inspect(ctx, s, args[0], kind, fs.Changed("type"))
		if err != nil {
			return err
		}
		if format == "" {
			return writeJSON(g.out, v)
		}
		t, err := parseTemplate(format)
		if err != nil {
			return err
		}
		if err := t.Execute(g.out, v); err != nil {
			return fmt.Errorf("applying format: %w", err)
		}
		if f, ok := g.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			fmt.Fprintln(g.out)
		}
		return nil
	})
	return cmd
}

// list returns the manifest list that inspect is to show: one asked for by type, or what is no container and no image.
func list(s *builder.Store, name, kind string, exact bool) *builder.Index {
	if exact && kind != "manifest" {
		return nil
	}
	if _, err := s.Container(name); err == nil && !exact {
		return nil
	}
	x, err := s.Index(name)
	if err != nil {
		return nil
	}
	return x
}

func inspect(ctx context.Context, s *builder.Store, name, kind string, exact bool) (*builder.View, error) {
	if kind == "container" {
		c, err := s.Container(name)
		if err == nil {
			return c.Inspect()
		}
		if exact || !errors.Is(err, builder.ErrNoContainer) {
			return nil, err
		}
	} else if kind == "manifest" {
		_, err := s.Index(name)
		return nil, err
	} else if kind != "image" {
		return nil, fmt.Errorf("the only recognized types are %q, %q and %q", "container", "image", "manifest")
	}
	img, err := s.Image(name)
	if err != nil {
		return nil, fmt.Errorf("importing settings: %w", err)
	}
	return img.Inspect(ctx, name)
}

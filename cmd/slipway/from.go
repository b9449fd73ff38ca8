package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
)

func newFromCmd(g *globals) *cobra.Command {
	var o builder.FromOptions
	var cidfile, format, iso string
	var quiet bool
	cmd := &cobra.Command{
		Use: "from [flags] IMAGE", Short: "Create a working container of an image, or of nothing (scratch)",
		Long:    "Create a working container of an image, or of nothing (scratch), and print its name.\n\nONBUILD instructions of the image are carried out in the container; COPY and ADD among them find their files in the current directory.",
		Example: "  from alpine\n  from --name work docker://registry.example/app:1\n  from scratch",
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New(`an image name (or "scratch") must be specified`)
			case 1:
				return nil
			}
			return errors.New("too many arguments specified")
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.Name, "name", "", "exact `name` of the container")
	fs.StringVar(&o.Suffix, "suffix", "", "`suffix` of generated names")
	_ = fs.MarkHidden("suffix")
	fs.StringVar(&cidfile, "cidfile", "", "write the container's ID to `file`")
	fs.StringVarP(&format, "format", "f", g.env.get("FORMAT"), "`format` that commits default to: oci or docker")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	pull := pullFlags(fs, &o.Pull.Policy)
	fs.StringVar(&iso, "isolation", "", "`isolation` of later runs: native (default; also rootless), oci or chroot")
	registryFlags(fs, g, &o.Pull.Registry)
	decryptFlag(fs, &o.Pull.Registry)
	blobCacheFlag(fs, &o.Pull.Registry)
	retryFlags(fs, &o.Pull.Registry)
	platform := platformFlags(fs, &o.Pull.Platform)
	box := sandboxFlags(fs, &o.Sandbox)
	usersFlags(fs, &o.Users)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) (err error) {
		if err := errors.Join(platform(), box(), pull()); err != nil {
			return err
		}
		if o.Format, err = parseFormat(format); err != nil {
			return err
		}
		if o.Sandbox.Isolation, err = g.env.isolation(iso); err != nil {
			return err
		}
		if !quiet {
			o.Pull.Report = g.err
		}
		c, err := s.From(ctx, args[0], o)
		if err != nil {
			return err
		}
		// ONBUILD triggers may look for files: here
		err = imagebuildah.Trigger(ctx, s, c, imagebuildah.Options{Context: ".", Pull: o.Pull, Box: o.Sandbox, Out: g.err, Err: g.err, Quiet: quiet, Log: g.store.Log})
		if err != nil {
			return errors.Join(err, c.Remove())
		}
		if cidfile != "" {
			if err := writeFile(cidfile, c.ID()); err != nil {
				return errors.Join(fmt.Errorf("writing container ID: %w", err), c.Remove())
			}
		}
		_, err = fmt.Fprintln(g.out, c.Name())
		return err
	})
	return cmd
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

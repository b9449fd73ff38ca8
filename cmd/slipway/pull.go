package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newPullCmd(g *globals) *cobra.Command {
	var o builder.PullOptions
	var quiet bool
	cmd := &cobra.Command{Use: "pull [flags] IMAGE", Short: "Copy an image into local storage", Example: "  pull alpine\n  pull oci-archive:app.tar",
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("an image name must be specified")
			case 1:
				return nil
			}
			return errors.New("too many arguments specified")
		}}
	fs := cmd.Flags()
	fs.BoolVarP(&o.AllTags, "all-tags", "a", false, "every tag of the repository")
	fs.Var(pullPolicy{&o.Policy}, "policy", "when to pull: missing, always, ifnewer, never")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&o.Registry.RemoveSignatures, "remove-signatures", false, "do not copy signatures")
	registryFlags(fs, g, &o.Registry)
	retryFlags(fs, &o.Registry)
	decryptFlag(fs, &o.Registry)
	blobCacheFlag(fs, &o.Registry)
	platform := platformFlags(fs, &o.Platform)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) (err error) {
		if err := platform(); err != nil {
			return err
		}
		if !quiet {
			o.Report = g.err
		}
		images := make([]*builder.Image, 1)
		if o.AllTags {
			images, err = s.PullAll(ctx, args[0], o)
		} else {
			images[0], err = s.Pull(ctx, args[0], o)
		}
		if err != nil || len(images) == 0 {
			return err
		}
		_, err = fmt.Fprintln(g.out, images[len(images)-1].ID())
		return err
	})
	return cmd
}

func newPushCmd(g *globals) *cobra.Command {
	var o builder.PushOptions
	var quiet, all, rm bool
	var digestfile string
	cmd := &cobra.Command{Use: "push [flags] IMAGE [DESTINATION]", Short: "Copy an image to a registry, an archive or a directory",
		Example: "  push app docker://registry.example/app:1\n  push app oci-archive:app.tar",
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("at least a source image ID must be specified")
			case 1, 2:
				return nil
			}
			return errors.New("too many arguments specified")
		}}
	fs := cmd.Flags()
	fs.BoolVar(&all, "all", true, "with a list also its images; without them the destination must have them")
	fs.BoolVar(&rm, "rm", false, "delete the list after success")
	fs.StringVar(&digestfile, "digestfile", "", "write the manifest's digest to `file`")
	fs.StringVarP(&o.Format, "format", "f", "", "manifest `format`: oci, v2s1, v2s2")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&o.Registry.RemoveSignatures, "remove-signatures", false, "do not copy signatures")
	registryFlags(fs, g, &o.Registry)
	retryFlags(fs, &o.Registry)
	compress := compressionFlags(fs, &o.Compression)
	blobCacheFlag(fs, &o.Registry)
	encryptFlags(fs, &o.Encrypt)
	sign := signFlags(fs, g, &o.Sign)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := errors.Join(compress(), sign()); err != nil {
			return err
		}
		if !quiet {
			o.Report = g.err
		}
		o.ListOnly = !all
		if rm {
			if _, err := s.Index(args[0]); err != nil {
				return fmt.Errorf("--rm deletes lists only: %w", err)
			}
		}
		d, err := s.Push(ctx, args[0], args[len(args)-1], o)
		if err == nil && digestfile != "" {
			err = writeFile(digestfile, d.String())
		}
		if err == nil && rm {
			_, err = s.RemoveIndex(args[0])
		}
		return err
	})
	return cmd
}

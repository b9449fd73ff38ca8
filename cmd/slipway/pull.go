package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newPullCmd(g *globals) *cobra.Command {
	var o builder.PullOptions
	var allTags, quiet bool
	cmd := &cobra.Command{Use: "pull [flags] IMAGE", Short: "Copy an image into local storage", Example: "  pull alpine\n  pull oci-archive:app.tar",
		Args: exactly(1, "an image name must be specified")}
	fs := cmd.Flags()
	fs.BoolVarP(&allTags, "all-tags", "a", false, "every tag of the repository")
	parsedFlag(fs, &o.Policy, "policy", "pull `policy`: missing, always, ifnewer, never", pullPolicy)
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
		defer g.holdStart()()
		images := make([]*builder.Image, 1)
		if allTags {
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

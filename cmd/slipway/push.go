package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newPushCmd(g *globals) *cobra.Command {
	var o builder.PushOptions
	var quiet, all, rm bool
	var digestfile string
	cmd := &cobra.Command{Use: "push [flags] IMAGE [DESTINATION]", Short: "Copy an image to a registry, an archive or a directory",
		Long: "Copy an image to a registry, an archive or a directory. Without DESTINATION it goes where its name says.\n\n" +
			"A destination is TRANSPORT:REST, with the transports containers-storage, dir, docker, docker-archive, docker-daemon, oci, oci-archive. " +
			"IMAGE may be elsewhere as well, and be read by sif too.",
		Example: "  push app docker://registry.example/app:1\n  push app oci-archive:app.tar",
		Args:    between(1, 2, "at least a source image ID must be specified")}
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
		if err != nil {
			return err
		}
		return pushed(s, args[0], d, digestfile, rm)
	})
	return cmd
}

// pushed writes the digest of what was pushed to a file, if one is named, and with rm deletes the list that it was, or
// the name that it was called by if it has others: the one that it was pushed to in local storage may be one of them.
func pushed(s *builder.Store, list string, d digest.Digest, digestfile string, rm bool) error {
	if digestfile != "" {
		if err := writeFile(digestfile, d.String()); err != nil {
			return err
		}
	}
	if !rm {
		return nil
	}
	_, err := s.RemoveIndex(list, true)
	return err
}

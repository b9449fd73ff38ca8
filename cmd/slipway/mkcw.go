package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// errConfidential is why there is no making of images for confidential workloads (cli.md §8.13): what is in them is known to the
// firmware and the runtime of one vendor, and cannot be tried without the processor.
var errConfidential = errors.New("images for confidential workloads (an encrypted disk for SEV or SNP processors) are not supported: " +
	"encrypt the layers with --encryption-key instead, or convert the image with buildah mkcw")

// newMkcwCmd knows the command, so that a script learns why it fails.
func newMkcwCmd(*globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "mkcw [flags] SOURCE DEST", Short: "Not supported: make an image for a confidential workload", Hidden: true, Args: cobra.ExactArgs(2),
		Example: "  mkcw --passphrase secret app app-encrypted",
		RunE:    func(*cobra.Command, []string) error { return errConfidential },
	}
	fs := cmd.Flags()
	fs.StringArray("add-file", nil, "not supported")
	for _, name := range []string{"attestation-url u", "base-image b", "cpus c", "firmware-library f", "memory m", "passphrase p", "slop s", "type t", "workload-id w"} {
		fs.StringP(name[:len(name)-2], name[len(name)-1:], "", "not supported")
	}
	fs.Bool("ignore-attestation-errors", false, "not supported")
	return cmd
}

// cwFlag refuses --cw where it is read.
func cwFlag(fs *pflag.FlagSet) {
	fs.Func("cw", "not supported: `options` of an image for a confidential workload", func(string) error { return errConfidential })
	_ = fs.MarkHidden("cw") // it is there
}

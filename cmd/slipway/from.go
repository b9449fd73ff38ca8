package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
)

// fromFlags are the flags of from that are no options of the library as they are.
type fromFlags struct {
	o                    builder.FromOptions
	cidfile, format, iso string
	quiet                bool
}

func newFromCmd(g *globals) *cobra.Command {
	var f fromFlags
	cmd := &cobra.Command{
		Use: "from [flags] IMAGE", Short: "Create a working container of an image, or of nothing (scratch)",
		Long:    "Create a working container of an image, or of nothing (scratch), and print its name.\n\nONBUILD instructions of the image are carried out in the container; COPY and ADD among them find their files in the current directory.",
		Example: "  from alpine\n  from --name work docker://registry.example/app:1\n  from scratch",
		Args:    exactly(1, `an image name (or "scratch") must be specified`),
	}
	settle := f.bind(cmd.Flags(), g)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := settle(); err != nil {
			return err
		}
		c, err := s.From(ctx, args[0], f.o)
		if err != nil {
			return err
		}
		if err := f.finish(ctx, g, s, c); err != nil {
			return errors.Join(err, c.Remove())
		}
		_, err = fmt.Fprintln(g.out, c.Name())
		return err
	})
	return cmd
}

// bind binds all flags. What it returns completes the options once they are parsed.
func (f *fromFlags) bind(fs *pflag.FlagSet, g *globals) (settle func() error) {
	o := &f.o
	fs.StringVar(&o.Name, "name", "", "exact `name` of the container")
	fs.StringVar(&o.Suffix, "suffix", "", "`suffix` of generated names")
	_ = fs.MarkHidden("suffix")
	fs.StringVar(&f.cidfile, "cidfile", "", "write the container's ID to `file`")
	fs.StringVarP(&f.format, "format", "f", g.env.get("FORMAT"), "`format` that commits default to: oci or docker")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	fs.StringVar(&f.iso, "isolation", "", "`isolation` of later runs: native (default; also rootless), oci or chroot")
	registryFlags(fs, g, &o.Pull.Registry)
	decryptFlag(fs, &o.Pull.Registry)
	blobCacheFlag(fs, &o.Pull.Registry)
	retryFlags(fs, &o.Pull.Registry)
	usersFlags(fs, &o.Users)
	pull, platform, box := pullFlags(fs, &o.Pull.Policy), platformFlags(fs, &o.Pull.Platform), sandboxFlags(fs, &o.Sandbox)
	return func() (err error) {
		if err := errors.Join(platform(), box(), pull()); err != nil {
			return err
		}
		if o.Format, err = parseFormat(f.format); err != nil {
			return err
		}
		if !f.quiet {
			o.Pull.Report = g.err
		}
		if o.Sandbox.Isolation, err = g.env.isolation(f.iso); err != nil {
			return err
		}
		return writable("--cidfile", f.cidfile)
	}
}

// finish carries out what the image has for containers on it, and writes the container's ID.
func (f *fromFlags) finish(ctx context.Context, g *globals, s *builder.Store, c *builder.Container) error {
	err := imagebuildah.Trigger(ctx, s, c, imagebuildah.Options{
		Context: ".", Pull: f.o.Pull, Box: f.o.Sandbox, Out: g.err, Err: g.err, Quiet: f.quiet, Log: g.store.Log,
	})
	if err == nil && f.cidfile != "" {
		if err = writeFile(f.cidfile, c.ID()); err != nil {
			err = fmt.Errorf("writing container ID: %w", err)
		}
	}
	return err
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

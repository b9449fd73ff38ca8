package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah"
)

func newCommitCmd(g *globals) *cobra.Command {
	var o builder.CommitOptions
	var format, iidfile string
	var changes, annotations, unsetEnv, unsetAnnotations []string
	var quiet bool
	cmd := &cobra.Command{
		Use: "commit [flags] CONTAINER [IMAGE]", Short: "Make an image of a working container",
		Example: "  commit work registry.example/app:1\n  commit --rm --squash work app\n  commit work oci-archive:app.tar",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("container ID must be specified")
			case len(args) > 2:
				return errors.New("too many arguments specified")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&o.AddFiles, "add-file", nil, "put `source[:destination]` into a layer of its own")
	fs.StringArrayVar(&annotations, "annotation", nil, "annotation `k=v` of the manifest")
	fs.StringArrayVarP(&changes, "change", "c", nil, "Dockerfile `instruction` applied to the image")
	fs.StringVarP(&format, "format", "f", g.env.get("FORMAT"), "`format`: oci or docker")
	fs.StringVar(&iidfile, "iidfile", "", "write the image's ID to `file`")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&o.Remove, "rm", false, "delete the container after success")
	fs.BoolVar(&o.Output.Squash, "squash", false, "one layer with the whole file system")
	fs.StringSliceVar(&unsetEnv, "unsetenv", nil, "remove a `variable`")
	fs.StringSliceVar(&unsetAnnotations, "unsetannotation", nil, "remove an `annotation`")
	registryFlags(fs, g, &o.Registry)
	compress := compressionFlags(fs, &o.Output.Compression)
	repro := reproFlags(fs, g, &o.Output)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := errors.Join(compress(), repro()); err != nil {
			return err
		}
		if o.Output.IdentityLabel == nil {
			on := o.Output.Timestamp == nil && o.Output.Epoch == nil
			o.Output.IdentityLabel = &on
		}
		if format != "" {
			f, err := parseFormat(format)
			if err != nil {
				return err
			}
			o.Output.Format = f
		}
		edits, err := imagebuildah.ParseChanges(changes)
		if err != nil {
			return err
		}
		o.Changes = append(edits, commitEdits(annotations, unsetEnv, unsetAnnotations)...)
		if !quiet {
			o.Report = g.err
		}
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		return g.commit(ctx, c, args[1:], iidfile, o)
	})
	return cmd
}

func commitEdits(annotations, unsetEnv, unsetAnnotations []string) []config.Change {
	var list []config.Change
	for _, a := range annotations {
		list = append(list, config.EditAnnotation(a))
	}
	for _, k := range unsetEnv {
		list = append(list, config.UnsetEnv(k))
	}
	for _, k := range unsetAnnotations {
		list = append(list, config.UnsetAnnotation(k))
	}
	return list
}

// commit writes the image to local storage or elsewhere and prints or stores its ID.
func (g *globals) commit(ctx context.Context, c *builder.Container, names []string, iidfile string, o builder.CommitOptions) error {
	id := ""
	if len(names) == 1 {
		remote, err := builder.Destination(names[0])
		if err != nil {
			return err
		}
		if remote {
			if iidfile != "" {
				return errors.New("--iidfile needs a destination in local storage")
			}
			d, err := c.CommitTo(ctx, names[0], o)
			if err != nil {
				return err
			}
			id = d.Encoded()
		}
	}
	if id == "" {
		img, err := c.Commit(ctx, names, o)
		if err != nil {
			return err
		}
		id = img.ID()
	}
	if iidfile != "" {
		return writeFile(iidfile, "sha256:"+id)
	}
	_, err := fmt.Fprintln(g.out, id)
	return err
}

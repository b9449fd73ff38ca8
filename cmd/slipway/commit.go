package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah"
)

// commitFlags are the flags of commit that are no options of the library as they are.
type commitFlags struct {
	format, iidfile, metadata, manifest, config string
	changes, annotations, unsetEnv              []string
	quiet                                       bool
}

func newCommitCmd(g *globals) *cobra.Command {
	var o builder.CommitOptions
	var f commitFlags
	cmd := &cobra.Command{
		Use: "commit [flags] CONTAINER [IMAGE]", Short: "Make an image of a working container",
		Example: "  commit work registry.example/app:1\n  commit --rm --squash work app\n  commit work oci-archive:app.tar",
		Args:    between(1, 2, "container ID must be specified"),
	}
	settle := f.bind(cmd.Flags(), g, &o)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := settle(); err != nil {
			return err
		}
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		return g.commit(ctx, s, c, args[1:], &f, o)
	})
	return cmd
}

// bind binds all flags. What it returns completes o once they are parsed.
func (f *commitFlags) bind(fs *pflag.FlagSet, g *globals, o *builder.CommitOptions) (settle func() error) {
	fs.StringArrayVar(&o.AddFiles, "add-file", nil, "put `source[:destination]` into a layer of its own")
	fs.StringArrayVar(&f.annotations, "annotation", nil, "annotation `k=v` of the manifest")
	fs.StringArrayVarP(&f.changes, "change", "c", nil, "Dockerfile `instruction` applied to the image")
	fs.StringVar(&f.config, "config", "", "`file` with a container configuration (JSON) laid over the image's")
	fs.StringVarP(&f.format, "format", "f", g.env.get("FORMAT"), "`format`: oci or docker")
	fs.StringVar(&f.iidfile, "iidfile", "", "write the image's ID to `file`")
	fs.StringVar(&f.manifest, "manifest", "", "also add the image to this `list`, which is made if it is not there")
	fs.StringVar(&f.metadata, "metadata-file", "", "write digests of the result to `file` (JSON)")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&o.Remove, "rm", false, "delete the container after success")
	fs.BoolVar(&o.Output.Squash, "squash", false, "one layer with the whole file system")
	fs.StringSliceVar(&f.unsetEnv, "unsetenv", nil, "remove a `variable`")
	fs.StringSliceVar(&o.Output.UnsetAnnotations, "unsetannotation", nil, "remove an `annotation`")
	registryFlags(fs, g, &o.Registry)
	retryFlags(fs, &o.Registry)
	blobCacheFlag(fs, &o.Registry)
	encryptFlags(fs, &o.Encrypt)
	cwFlag(fs)
	groups := []func() error{
		compressionFlags(fs, &o.Output.Compression), signFlags(fs, g, &o.Sign), sbomFlags(fs, &o.SBOM), pullFlags(fs, &o.SBOM.Pull.Policy),
		reproFlags(fs, g, &o.Output, nil), oldTimeFlags(fs, &o.Output),
	}
	fs.Lookup("pull").Usage = "pull `policy` of the scanner of an SBOM: missing, always, newer, never"
	return func() error {
		var errs []error
		for _, settle := range groups {
			errs = append(errs, settle())
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return f.settle(g, o)
	}
}

// settle turns what was typed into options.
func (f *commitFlags) settle(g *globals, o *builder.CommitOptions) (err error) {
	if o.Output.IdentityLabel == nil {
		on := o.Output.Timestamp == nil && o.Output.Epoch == nil
		o.Output.IdentityLabel = &on
	}
	if f.format != "" {
		if o.Output.Format, err = parseFormat(f.format); err != nil {
			return err
		}
	}
	if !f.quiet {
		o.Report, o.SBOM.Pull.Report = g.err, g.err
	}
	o.SBOM.Pull.Registry = o.Registry
	if o.Changes, err = f.edits(); err != nil {
		return err
	}
	return errors.Join(writable("--iidfile", f.iidfile), writable("--metadata-file", f.metadata))
}

// oldTimeFlags binds the former spellings of --timestamp.
func oldTimeFlags(fs *pflag.FlagSet, o *builder.Output) func() error {
	var omit bool
	var file string
	fs.BoolVar(&omit, "omit-timestamp", false, "same as --timestamp 0")
	fs.StringVar(&file, "reference-time", "", "`file` whose modification time is the --timestamp")
	_, _ = fs.MarkHidden("omit-timestamp"), fs.MarkHidden("reference-time")
	return func() error {
		given := 0
		for _, name := range []string{"timestamp", "source-date-epoch", "reference-time", "omit-timestamp"} {
			if fs.Changed(name) {
				given++
			}
		}
		if given > 1 {
			return errors.New("cannot use more then one timestamp option at at time")
		}
		if !omit && file == "" {
			return nil
		}
		t := time.Unix(0, 0).UTC()
		if file != "" {
			fi, err := os.Stat(file)
			if err != nil {
				return fmt.Errorf("reading --reference-time: %w", err)
			}
			t = fi.ModTime().UTC().Truncate(time.Second)
		}
		o.Timestamp, o.Epoch = &t, nil
		return nil
	}
}

// edits are what the flags change of the configuration: the file, instructions, annotations, removals.
func (f *commitFlags) edits() ([]config.Change, error) {
	var list []config.Change
	if f.config != "" {
		blob, err := os.ReadFile(f.config)
		if err != nil {
			return nil, fmt.Errorf("reading --config: %w", err)
		}
		over, err := config.Merge(blob)
		if err != nil {
			return nil, fmt.Errorf("reading --config %s: %w", f.config, err)
		}
		list = append(list, over)
	}
	edits, err := imagebuildah.ParseChanges(f.changes)
	if err != nil {
		return nil, err
	}
	list = append(list, edits...)
	for _, a := range f.annotations {
		k, v, _ := strings.Cut(a, "=")
		list = append(list, config.Annotation(k, v))
	}
	for _, k := range f.unsetEnv {
		list = append(list, config.UnsetEnv(k))
	}
	return list, nil
}

// commit writes the image to local storage or elsewhere and prints or stores what it became.
func (g *globals) commit(ctx context.Context, s *builder.Store, c *builder.Container, names []string, f *commitFlags, o builder.CommitOptions) error {
	remote := false
	if len(names) == 1 {
		var err error
		if remote, err = builder.Destination(names[0]); err != nil {
			return err
		}
	}
	if err := s.CheckIndex(f.manifest); err != nil { // before anything is written, or removed
		return err
	}
	g.warnAnnotations(cmp.Or(o.Output.Format, c.Format()), f.annotations)
	var done *builder.Committed
	member := ""
	if remote {
		if f.iidfile != "" {
			return errors.New("--iidfile needs a destination in local storage")
		}
		d, err := c.CommitTo(ctx, names[0], o)
		if err != nil {
			return err
		}
		done, member = d, names[0]
	} else {
		if len(o.Encrypt.Keys) > 0 {
			return errors.New("--encryption-key needs a destination other than local storage")
		}
		img, err := c.Commit(ctx, names, o)
		if err != nil {
			return err
		}
		if done, err = img.Committed(ctx); err != nil {
			return err
		}
		done.Config, member = digest.NewDigestFromEncoded(digest.SHA256, img.ID()), img.ID()
	}
	if f.manifest != "" {
		if _, _, err := s.AddToIndex(ctx, f.manifest, []string{member}, builder.EntryOptions{Registry: o.Registry}, true); err != nil {
			return err
		}
	}
	return g.committed(done, f.iidfile, f.metadata)
}

// committed prints an image's ID, or writes it where the flags say.
func (g *globals) committed(done *builder.Committed, iidfile, metadata string) error {
	if metadata != "" {
		text, err := done.Metadata()
		if err != nil {
			return err
		}
		if err := writeFile(metadata, string(text)+"\n"); err != nil {
			return err
		}
	}
	if iidfile != "" {
		return writeFile(iidfile, done.Config.String())
	}
	_, err := fmt.Fprintln(g.out, done.Config.Encoded())
	return err
}

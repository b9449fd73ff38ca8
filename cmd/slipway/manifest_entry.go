package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
)

// entryFlags binds what a list says of an entry.
func entryFlags(fs *pflag.FlagSet, o *builder.EntryOptions) func() error {
	var annotations []string
	fs.StringVar(&o.Platform.OS, "os", "", "operating `system` of the entry")
	fs.StringVar(&o.Platform.Arch, "arch", "", "`architecture` of the entry")
	fs.StringVar(&o.Platform.Variant, "variant", "", "architecture `variant` of the entry")
	fs.StringVar(&o.OSVersion, "os-version", "", "`version` of the entry's operating system")
	fs.StringSliceVar(&o.OSFeatures, "os-features", nil, "`feature` that the operating system must have")
	fs.StringSliceVar(&o.Features, "features", nil, "`feature` that the processor must have")
	fs.StringArrayVar(&annotations, "annotation", nil, "annotation `k=v` of the entry")
	fs.SetNormalizeFunc(oldNames)
	return func() (err error) {
		o.Annotations, err = pairs(annotations)
		return err
	}
}

func newManifestAddCmd(g *globals) *cobra.Command {
	var o builder.EntryOptions
	var a builder.ArtifactOptions
	var artifact bool
	var annotations []string
	cmd := &cobra.Command{Use: "add [flags] LIST IMAGE|FILE...", Short: "Add images to a manifest list", Args: atLeast(2, "a list and an image to add must be specified"),
		Example: "  manifest add app:1 localhost/app-amd64\n  manifest add --all app:1 docker://registry.example/base:1\n  manifest add --artifact --artifact-type text/plain app:1 README"}
	fs := cmd.Flags()
	fs.BoolVar(&o.All, "all", false, "take every image of lists that are added")
	fs.BoolVar(&artifact, "artifact", false, "the arguments are files, which become one artifact")
	fs.StringVar(&a.Type, "artifact-type", "", "media `type` of the artifact")
	fs.StringVar(&a.Config, "artifact-config", "", "`file` with the artifact's configuration")
	fs.StringVar(&a.ConfigType, "artifact-config-type", "", "media `type` of the configuration")
	fs.StringVar(&a.LayerType, "artifact-layer-type", "", "media `type` of the files")
	fs.BoolVar(&a.NoTitles, "artifact-exclude-titles", false, "leave the files' names out")
	fs.StringVar(&a.Subject, "artifact-subject", "", "`image` that the artifact is about")
	fs.StringSliceVar(&annotations, "artifact-annotation", nil, "annotation `k=v` of the artifact")
	entry := entryFlags(fs, &o)
	registryFlags(fs, g, &o.Registry)
	insecureFlag(cmd, &o.Registry)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) (err error) {
		if err := entry(); err != nil {
			return err
		}
		if err := needsArtifact(fs, artifact); err != nil {
			return err
		}
		if artifact {
			if a.Annotations, err = pairs(annotations); err != nil {
				return err
			}
			x, d, err := s.AddArtifact(ctx, args[0], args[1:], a, o)
			return g.entry(x, d, err)
		}
		x, d, err := s.AddToIndex(ctx, args[0], args[1:], o, false)
		return g.entry(x, d, err)
	})
	return cmd
}

func needsArtifact(fs *pflag.FlagSet, artifact bool) (err error) {
	fs.Visit(func(f *pflag.Flag) {
		if !artifact && len(f.Name) > len("artifact-") && f.Name[:len("artifact-")] == "artifact-" {
			err = fmt.Errorf("--%s requires --artifact", f.Name)
		}
	})
	return err
}

func newManifestAnnotateCmd(g *globals) *cobra.Command {
	var o builder.EntryOptions
	var index bool
	var subject string
	cmd := &cobra.Command{Use: "annotate [flags] LIST [IMAGE|DIGEST|FILE]", Short: "Change what a manifest list says of an entry or of itself",
		Example: "  manifest annotate --arch arm64 --variant v8 app:1 localhost/app-arm64\n  manifest annotate --index --annotation a=b app:1",
		Args:    cobra.RangeArgs(1, 2)}
	fs := cmd.Flags()
	fs.BoolVar(&index, "index", false, "annotate the list itself")
	fs.StringVar(&subject, "subject", "", "`image` that the list is about")
	entry := entryFlags(fs, &o)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := entry(); err != nil {
			return err
		}
		whole := index || subject != ""
		if err := fits(fs, index, whole, len(args)); err != nil {
			return err
		}
		if len(args) == 2 && !index {
			x, d, err := s.AnnotateIndex(ctx, args[0], args[1], o)
			if err == nil && subject != "" {
				x, err = s.AnnotateWhole(ctx, args[0], nil, subject, o.Registry)
			}
			return g.entry(x, d, err)
		}
		x, err := s.AnnotateWhole(ctx, args[0], o.Annotations, subject, o.Registry)
		return g.entry(x, "", err)
	})
	return cmd
}

// fits refuses combinations that could only be misunderstood.
func fits(fs *pflag.FlagSet, index, whole bool, args int) error {
	if args == 1 && !whole {
		return errors.New("an entry must be specified, or --index or --subject used")
	}
	if args == 2 && index {
		return errors.New("--index changes the list itself: no entry may be specified")
	}
	for _, name := range []string{"os", "arch", "variant", "os-version", "os-features", "features"} {
		if fs.Changed(name) && (index || args == 1) {
			return fmt.Errorf("--index is not compatible with --%s", name)
		}
	}
	return nil
}

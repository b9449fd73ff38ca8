package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

// newManifestCmd has the commands for manifest lists (cli.md §12). All of them take flags behind arguments.
func newManifestCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "manifest", Short: "Make and push manifest lists", Long: "Make, change and push manifest lists: images of several platforms under one name.",
		Example: "  manifest create app:1\n  manifest add app:1 localhost/app-amd64\n  manifest push app:1 docker://registry.example/app:1",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for \"%s manifest\"", args[0], g.program)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newManifestAddCmd(g), newManifestAnnotateCmd(g), newManifestCreateCmd(g), newManifestExistsCmd(g),
		newManifestInspectCmd(g), newManifestPushCmd(g), newManifestRemoveCmd(g), newManifestRmCmd(g))
	return cmd
}

func newManifestCreateCmd(g *globals) *cobra.Command {
	var o builder.IndexOptions
	var annotations []string
	cmd := &cobra.Command{Use: "create [flags] LIST [IMAGE...]", Short: "Make a manifest list", Args: atLeast(1, "a name for the list must be specified"),
		Example: "  manifest create app:1\n  manifest create --amend app:1 docker://registry.example/app:1-arm64"}
	fs := cmd.Flags()
	fs.BoolVar(&o.Entry.All, "all", false, "take every image of lists that are added")
	fs.BoolVar(&o.Amend, "amend", false, "go on with a list of that name")
	fs.BoolVar(&o.Replace, "replace", false, "take the name away from what has it")
	fs.StringArrayVar(&annotations, "annotation", nil, "annotation `k=v` of the list")
	fs.StringVar(&o.Entry.Platform.OS, "os", "", "which image of a list to take: its operating system")
	fs.StringVar(&o.Entry.Platform.Arch, "arch", "", "which image of a list to take: its architecture")
	_, _ = fs.MarkHidden("os"), fs.MarkHidden("arch")
	registryFlags(fs, g, &o.Entry.Registry)
	insecureFlag(cmd, &o.Entry.Registry)
	fs.SetNormalizeFunc(oldNames)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) (err error) {
		if o.Annotations, err = pairs(annotations); err != nil {
			return err
		}
		x, err := s.CreateIndex(ctx, args[0], args[1:], o)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(g.out, x.ID())
		return err
	})
	return cmd
}

func newManifestExistsCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "exists [flags] LIST", Short: "Tell by the exit status whether a manifest list is in local storage", Args: cobra.ExactArgs(1),
		Example: "  manifest exists app:1 || PROGRAM manifest create app:1"}
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		if _, err := s.Index(args[0]); err != nil {
			return &silentError{1}
		}
		return nil
	})
	return cmd
}

func newManifestInspectCmd(g *globals) *cobra.Command {
	var r builder.Registry
	cmd := &cobra.Command{Use: "inspect [flags] LIST", Short: "Print a manifest list, local or in a registry", Args: cobra.ExactArgs(1),
		Example: "  manifest inspect app:1\n  manifest inspect docker://registry.example/app:1"}
	registryFlags(cmd.Flags(), g, &r)
	insecureFlag(cmd, &r)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		raw, err := s.IndexJSON(ctx, args[0], r)
		if err != nil {
			return err
		}
		return g.printIndented(raw)
	})
	return cmd
}

// printIndented prints JSON as every command does: four blanks, no escapes.
func (g *globals) printIndented(raw []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "    "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(g.out, b.String())
	return err
}

func newManifestRemoveCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "remove [flags] LIST IMAGE|DIGEST|FILE", Short: "Take an entry out of a manifest list", Args: cobra.ExactArgs(2),
		Example: "  manifest remove app:1 localhost/app-arm64"}
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		x, d, err := s.RemoveFromIndex(ctx, args[0], args[1])
		return g.entry(x, d, err)
	})
	return cmd
}

func newManifestRmCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "rm [flags] LIST...", Short: "Delete manifest lists; their images stay", Args: atLeast(1, "a list must be specified"),
		Example: "  manifest rm app:1"}
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		return g.remove(args, func(list string) (builder.Removed, error) { return s.RemoveIndex(list, false) })
	})
	return cmd
}

// entry prints what was changed in a list.
func (g *globals) entry(x *builder.Index, d digest.Digest, err error) error {
	if err != nil {
		return err
	}
	if d == "" {
		_, err = fmt.Fprintln(g.out, x.ID())
	} else {
		_, err = fmt.Fprintf(g.out, "%s: %s\n", x.ID(), d)
	}
	return err
}

func newManifestPushCmd(g *globals) *cobra.Command {
	var o builder.PushOptions
	var quiet, all, rm bool
	var digestfile string
	cmd := &cobra.Command{Use: "push [flags] LIST [DESTINATION]", Short: "Copy a manifest list and its images elsewhere",
		Example: "  manifest push app:1\n  manifest push --rm app:1 docker://registry.example/app:1",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 || len(args) > 2:
				return errors.New("a list, and at most one destination, must be specified")
			case len(args) == 2 && !strings.Contains(args[1], ":"):
				return fmt.Errorf("invalid destination %q: a transport is needed, as in docker://%s", args[1], args[1])
			}
			return nil
		}}
	fs := cmd.Flags()
	fs.BoolVar(&all, "all", true, "also the images of the list")
	fs.StringArrayVar(&o.AddCompression, "add-compression", nil, "also every image with this `compression`")
	fs.StringVar(&digestfile, "digestfile", "", "write the list's digest to `file`")
	fs.StringVarP(&o.Format, "format", "f", "", "manifest `format`: oci or v2s2")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&rm, "rm", false, "delete the local list after success")
	fs.BoolVar(&o.Registry.RemoveSignatures, "remove-signatures", false, "do not copy signatures")
	registryFlags(fs, g, &o.Registry)
	insecureFlag(cmd, &o.Registry)
	retryFlags(fs, &o.Registry)
	compress := compressionFlags(fs, &o.Compression)
	sign := signFlags(fs, g, &o.Sign)
	fs.SetNormalizeFunc(oldNames)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := errors.Join(compress(), sign()); err != nil {
			return err
		}
		if !slices.Contains([]string{"", "oci", "v2s2", "docker"}, o.Format) {
			return fmt.Errorf("unknown format %q. Choose on of the supported formats: 'oci' or 'v2s2'", o.Format)
		}
		o.ListOnly = !all
		if !quiet {
			o.Report = g.err
		}
		d, err := s.PushIndex(ctx, args[0], args[len(args)-1], o)
		if err != nil {
			return err
		}
		return pushed(s, args[0], d, digestfile, rm)
	})
	return cmd
}

// insecureFlag binds the old opposite of --tls-verify.
func insecureFlag(cmd *cobra.Command, r *builder.Registry) {
	fs := cmd.Flags()
	fs.BoolFunc("insecure", "neither require HTTPS nor verify certificates", func(text string) error {
		insecure, err := strconv.ParseBool(text)
		if insecure {
			off := false
			r.TLSVerify = &off
		}
		return err
	})
	_ = fs.MarkHidden("insecure")
	cmd.MarkFlagsMutuallyExclusive("insecure", "tls-verify")
}

// pairs reads k=v texts.
func pairs(texts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, t := range texts {
		k, v, ok := strings.Cut(t, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is not of the form key=value", t)
		}
		m[k] = v
	}
	return m, nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

// inspectFlags are the flags of inspect.
type inspectFlags struct {
	format, kind string
	exact        bool // --type was given
	raw, config  bool
	platform     builder.Platform
	registry     builder.Registry
}

func newInspectCmd(g *globals) *cobra.Command {
	var f inspectFlags
	cmd := &cobra.Command{Use: "inspect [flags] NAME", Short: "Show what is known of a container or an image",
		Long: "Show what is known of a container, an image or a manifest list. Of an image elsewhere (docker://NAME, oci:DIR …) only JSON documents are read.",
		Example: "  inspect work\n  inspect --type image --format '{{.OCIv1.Config.Env}}' app\n  inspect docker://registry.example/app:1\n" +
			"  inspect --raw docker://registry.example/app:1",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("container or image name must be specified")
			case len(args) > 1:
				return errors.New("too many arguments specified")
			case f.format != "" && f.format != jsonFormat && !(strings.Contains(f.format, "{{") && strings.Contains(f.format, "}}")):
				return fmt.Errorf("invalid format provided: %s", f.format)
			case f.raw && f.config, f.format != "" && (f.raw || f.config):
				return errors.New("only one of --format, --raw and --config can be used")
			}
			return nil
		}}
	fs := cmd.Flags()
	fs.StringVarP(&f.format, "format", "f", "", "Go `template`, or json")
	fs.StringVarP(&f.kind, "type", "t", "container", "`kind` of thing to look for: container, image or manifest (list)")
	fs.BoolVar(&f.raw, "raw", false, "print an image's manifest, or the list, as it is")
	fs.BoolVar(&f.config, "config", false, "print an image's configuration as it is")
	platform := platformFlags(fs, &f.platform)
	registryFlags(fs, g, &f.registry)
	retryFlags(fs, &f.registry)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		f.exact = fs.Changed("type")
		if err := platform(); err != nil {
			return err
		}
		if builder.IsRemote(args[0]) {
			return g.inspectRemote(ctx, s, args[0], &f)
		}
		return g.inspectLocal(ctx, s, args[0], &f)
	})
	return cmd
}

// inspectRemote prints what a registry, an archive or a directory says of an image.
func (g *globals) inspectRemote(ctx context.Context, s *builder.Store, name string, f *inspectFlags) error {
	r, err := s.Remote(ctx, name, f.platform, f.registry)
	if err != nil {
		return err
	}
	one := f.platform != (builder.Platform{})
	switch {
	case f.raw && !one:
		return g.asIs(r.Top)
	case f.kind == "manifest" && !one:
		return g.showDocument(r.Top, f.format)
	}
	if err := r.Chosen(); err != nil {
		return err
	}
	switch {
	case f.raw:
		return g.asIs(r.Manifest)
	case f.kind == "manifest":
		return g.showDocument(r.Manifest, f.format)
	case f.config:
		return g.asIs(r.Config)
	}
	v, err := r.View()
	if err != nil {
		return err
	}
	return g.show(v, f.format)
}

func (g *globals) inspectLocal(ctx context.Context, s *builder.Store, name string, f *inspectFlags) error {
	if f.platform != (builder.Platform{}) {
		return g.inspectPlatform(ctx, s, name, f)
	}
	if f.raw || f.config {
		img, err := s.Image(name)
		if err != nil {
			return err
		}
		return g.document(ctx, img, f.config)
	}
	if x := list(s, name, f.kind, f.exact); x != nil {
		raw, err := x.JSON()
		if err != nil {
			return err
		}
		return g.showDocument(raw, f.format)
	}
	v, err := inspect(ctx, s, name, f.kind, f.exact)
	if err != nil {
		return err
	}
	return g.show(v, f.format)
}

// inspectPlatform prints what is known of a local image for a platform: the one of a list, or an image that is for no other.
func (g *globals) inspectPlatform(ctx context.Context, s *builder.Store, name string, f *inspectFlags) error {
	if f.exact && f.kind != "image" {
		return fmt.Errorf("--platform is for images, not for --type %s", f.kind)
	}
	img, err := s.Pull(ctx, name, builder.PullOptions{Policy: builder.PullNever, Platform: f.platform})
	if err != nil {
		return fmt.Errorf("importing settings: %w", err)
	}
	cfg, err := img.Config(ctx)
	if err != nil {
		return err
	}
	is, p := builder.Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}, f.platform
	if p.OS != "" && p.OS != is.OS || p.Arch != "" && p.Arch != is.Arch || p.Variant != "" && p.Variant != is.Variant {
		return fmt.Errorf("%s is for %s, not for %s", name, is, p.OrHost())
	}
	if f.raw || f.config {
		return g.document(ctx, img, f.config)
	}
	v, err := img.Inspect(ctx, name)
	if err != nil {
		return err
	}
	return g.show(v, f.format)
}

// document prints a blob of a local image byte for byte.
func (g *globals) document(ctx context.Context, img *builder.Image, config bool) (err error) {
	var raw []byte
	if x := img.Index(); x != nil && !config {
		raw, err = x.JSON()
	} else if config {
		raw, err = img.RawConfig(ctx)
	} else {
		raw, _, err = img.Manifest(ctx)
	}
	if err != nil {
		return err
	}
	return g.asIs(raw)
}

func (g *globals) asIs(raw []byte) error {
	_, err := g.out.Write(raw)
	return err
}

// show prints a value as JSON, or with a template.
func (g *globals) show(v any, format string) error {
	if format == "" || format == jsonFormat {
		return writeJSON(g.out, v)
	}
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	if err := execute(g.out, t, v); err != nil {
		return err
	}
	if f, ok := g.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		_, err = fmt.Fprintln(g.out)
	}
	return err
}

// showDocument prints a JSON document with its members in their order, or its members, by their names in it, with a template.
func (g *globals) showDocument(raw []byte, format string) error {
	if format == "" || format == jsonFormat {
		return g.printIndented(raw)
	}
	var v map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber() // a large size stays a row of digits
	if err := d.Decode(&v); err != nil {
		return err
	}
	return g.show(v, format)
}

// list returns the manifest list that inspect is to show: one asked for by type, or what is no container and no image.
func list(s *builder.Store, name, kind string, exact bool) *builder.Index {
	if exact && kind != "manifest" {
		return nil
	}
	if _, err := s.Container(name); err == nil && !exact {
		return nil
	}
	x, err := s.Index(name)
	if err != nil {
		return nil
	}
	return x
}

func inspect(ctx context.Context, s *builder.Store, name, kind string, exact bool) (*builder.View, error) {
	if kind == "container" {
		c, err := s.Container(name)
		if err == nil {
			return c.Inspect()
		}
		if exact || !errors.Is(err, builder.ErrNoContainer) {
			return nil, err
		}
	} else if kind == "manifest" {
		_, err := s.Index(name)
		return nil, err
	} else if kind != "image" {
		return nil, fmt.Errorf("the only recognized types are %q, %q and %q", "container", "image", "manifest")
	}
	img, err := s.Image(name)
	if err != nil {
		return nil, fmt.Errorf("importing settings: %w", err)
	}
	return img.Inspect(ctx, name)
}

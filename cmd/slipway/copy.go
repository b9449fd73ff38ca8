package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// copyFlags is one copy or add command.
type copyFlags struct {
	g                        *globals
	o                        builder.CopyOptions
	contextDir, ignore, from string
	checksum, stamp          string
	quiet, wildcards         bool
	pull                     builder.PullOptions
	add                      bool
}

func newCopyCmd(g *globals) *cobra.Command {
	return newCopyLike(g, "copy", "Copy files into a working container", "  copy work app /usr/bin/app\n  copy --chown www-data work site/ /var/www/", false)
}

func newAddCmd(g *globals) *cobra.Command {
	return newCopyLike(g, "add", "Add files to a working container, extracting local archives", "  add work rootfs.tar.xz /\n  add work https://example.com/file /opt/", true)
}

func newCopyLike(g *globals, name, short, example string, add bool) *cobra.Command {
	f := &copyFlags{g: g, add: add}
	cmd := &cobra.Command{
		Use: name + " [flags] CONTAINER SOURCE [SOURCE...] [DESTINATION]", Short: short, Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("container ID must be specified")
			case 1:
				return errors.New("src must be specified")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.o.Chown, "chown", "", "`user[:group]` of what is copied")
	fs.StringVar(&f.o.Chmod, "chmod", "", "`mode` of what is copied, octal or symbolic")
	fs.StringVar(&f.contextDir, "contextdir", "", "`dir`ectory that sources are confined to")
	fs.StringVar(&f.ignore, "ignorefile", "", "ignore `file`; needs --contextdir")
	fs.StringVar(&f.from, "from", "", "working container or image to copy from")
	fs.StringVar(&f.checksum, "checksum", "", "`sha256:...` that a download must have")
	fs.StringVar(&f.stamp, "timestamp", "", "`seconds` for the times of what is copied")
	fs.StringSliceVar(&f.o.Excludes, "exclude", nil, "`pattern` of what is not copied")
	fs.BoolVar(&f.o.NoFollow, "no-follow-symlinks", false, "copy links named as sources as links")
	fs.BoolVar(&f.wildcards, "allow-wildcard", true, "allow wildcards in sources")
	fs.BoolVar(&f.o.AllowEmptyWildcard, "allow-empty-wildcard", false, "a wildcard that matches nothing is no error")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print no digest")
	if !add {
		fs.BoolVar(&f.o.Parents, "parents", false, "keep the directories of sources")
	}
	registryFlags(fs, g, &f.pull.Registry)
	retryFlags(fs, &f.pull.Registry)
	cmd.RunE = g.withStore(f.run)
	return cmd
}

func (f *copyFlags) run(ctx context.Context, s *builder.Store, args []string) (err error) {
	if f.ignore != "" && f.contextDir == "" {
		return errors.New("--ignorefile option requires that you specify a context dir using --contextdir")
	}
	if f.o.Mtime, err = seconds(f.stamp); err != nil {
		return err
	}
	f.o.NoWildcard = !f.wildcards
	c, err := s.Container(args[0])
	if err != nil {
		return err
	}
	sources, dest := args[1:], ""
	if len(sources) > 1 {
		sources, dest = sources[:len(sources)-1], sources[len(sources)-1]
	}
	if len(sources) > 1 && !strings.HasSuffix(dest, "/") {
		dest += "/"
	}
	var digests []string
	err = f.each(ctx, s, sources, func(src source.Source, o builder.CopyOptions) error {
		content, err := c.Copy(ctx, dest, src, o)
		if err == nil && content.Digest != "" {
			digests = append(digests, content.Digest.Encoded())
		}
		return err
	})
	if err != nil || f.quiet || len(digests) == 0 {
		return err
	}
	text := digests[0]
	if len(digests) > 1 {
		text = copier.Sum(digests).Encoded()
	}
	_, err = fmt.Fprintln(f.g.out, text)
	return err
}

// each calls do for the sources: local ones together where they have one root, downloads one by one.
func (f *copyFlags) each(ctx context.Context, s *builder.Store, words []string, do func(source.Source, builder.CopyOptions) error) error {
	if f.from != "" {
		f.o.KeepOwner = f.o.Chown == ""
		return s.ViewOf(ctx, f.from, f.pull, func(root *rootfs.Root) error {
			return do(source.Dir(root, f.from, words...), f.o)
		})
	}
	for _, w := range words {
		if source.IsURL(w) {
			src, err := source.ParseURL(w, f.checksum)
			if err == nil {
				err = do(src, f.o)
			}
			if err != nil {
				return err
			}
			continue
		}
		if f.checksum != "" {
			return errors.New("checksum flag is not supported for local sources")
		}
		if err := f.local(w, do); err != nil {
			return err
		}
	}
	return nil
}

// local copies one word from the host: below the context directory, or from anywhere.
func (f *copyFlags) local(word string, do func(source.Source, builder.CopyOptions) error) error {
	o := f.o
	o.Unpack = f.add
	dir, pattern := f.contextDir, word
	if dir == "" {
		abs, err := filepath.Abs(word)
		if err != nil {
			return err
		}
		dir, pattern = "/", abs
		if strings.HasSuffix(word, "/") {
			pattern += "/"
		}
	} else {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(word, abs+"/"); ok {
			pattern = rest
		}
		dir = abs
		if o.IgnoreFile = f.ignore; o.IgnoreFile == "" {
			o.IgnoreFile = source.IgnoreFile(dir)
		}
	}
	root, err := rootfs.Open(dir, rootfs.Apply)
	if err != nil {
		return err
	}
	defer root.Close()
	return do(source.Dir(root, word, pattern), o)
}

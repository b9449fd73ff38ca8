package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
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
	quiet, wildcards, link   bool
	addHistory               *bool
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
			if slices.Contains(args[1:max(2, len(args)-1)], "") {
				return errors.New("src must be specified: a source is empty")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.o.Chown, "chown", "", "`user[:group]` of what is copied")
	fs.StringVar(&f.o.Chmod, "chmod", "", "`mode` of what is copied, octal or symbolic")
	fs.StringVar(&f.contextDir, "contextdir", "", "`dir`ectory that sources are confined to")
	fs.StringVar(&f.ignore, "ignorefile", "", "ignore `file`; needs --contextdir")
	fs.StringVar(&f.from, "from", "", "working `container` or image to copy from")
	fs.StringVar(&f.checksum, "checksum", "", "`sha256:...` that a download must have, or commit of a Git repository")
	fs.StringVar(&f.stamp, "timestamp", "", "`seconds` for the times of what is copied")
	fs.StringSliceVar(&f.o.Excludes, "exclude", nil, "`pattern` of what is not copied")
	fs.BoolVar(&f.o.NoFollow, "no-follow-symlinks", false, "copy links named as sources as links")
	fs.BoolVar(&f.wildcards, "allow-wildcard", true, "allow wildcards in sources")
	fs.BoolVar(&f.o.AllowEmptyWildcard, "allow-empty-wildcard", false, "a wildcard that matches nothing is no error")
	fs.BoolVar(&f.link, "link", false, "put the content into a layer of its own, on top of the container's, when it is committed; run does not see it")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print no digest")
	if !add {
		fs.BoolVar(&f.o.Parents, "parents", false, "keep the directories of sources")
	}
	f.addHistory = historyFlag(fs, g)
	registryFlags(fs, g, &f.pull.Registry)
	fs.BoolVar(&f.pull.Registry.RemoveSignatures, "remove-signatures", false, "ignore signatures of an image that is pulled")
	decryptFlag(fs, &f.pull.Registry)
	blobCacheFlag(fs, &f.pull.Registry)
	_, _ = fs.MarkHidden("remove-signatures"), fs.MarkHidden("decryption-key")
	retryFlags(fs, &f.pull.Registry)
	cmd.RunE = g.withStore(f.run)
	return cmd
}

func (f *copyFlags) run(ctx context.Context, s *builder.Store, args []string) (err error) {
	if f.ignore != "" && f.contextDir == "" {
		return errors.New("--ignorefile option requires that you specify a context dir using --contextdir")
	}
	switch {
	case f.checksum != "" && f.from != "":
		return errors.New("checksum flag is not supported for local sources: --from names what is local by the time it is copied")
	case f.contextDir != "" && f.from != "":
		return errors.New("--contextdir is a directory of this host: it cannot be used with --from")
	}
	if f.o.Mtime, err = seconds(f.stamp); err != nil {
		return fmt.Errorf("--timestamp: %w", err)
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
	f.o.NoDigest = f.quiet && !*f.addHistory && !f.link
	var text, kind string
	if f.link {
		text, err = f.linked(ctx, s, c, sources, dest)
	} else if text, kind, err = f.into(ctx, s, c, sources, dest); err == nil && text != "" && *f.addHistory {
		err = c.Edit(builder.Edit{History: []string{config.Nop(f.verb(), kind+text)}})
	}
	if err == nil && text != "" && !f.quiet {
		_, err = fmt.Fprintln(f.g.out, text)
	}
	return err
}

func (f *copyFlags) verb() string {
	if f.add {
		return "ADD"
	}
	return "COPY"
}

// linked copies into a layer of its own, which says in the history what it is.
func (f *copyFlags) linked(ctx context.Context, s *builder.Store, c *builder.Container, sources []string, dest string) (text string, err error) {
	l, err := c.NewLinked()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Discard()) }()
	text, kind, err := f.into(ctx, s, l, sources, dest)
	if err != nil || text == "" {
		return "", err
	}
	return text, l.Add(config.Nop(f.verb(), kind+text+" in "+cmp.Or(dest, ".")))
}

// into copies the sources and returns the digest and kind of what was copied, empty for nothing.
func (f *copyFlags) into(ctx context.Context, s *builder.Store, c interface {
	Copy(context.Context, string, source.Source, builder.CopyOptions) (copier.Content, error)
}, sources []string, dest string) (text, kind string, err error) {
	var digests []string
	err = f.each(ctx, s, sources, func(src source.Source, o builder.CopyOptions) error {
		content, err := c.Copy(ctx, dest, src, o)
		if err == nil && content.Digest != "" {
			digests, kind = append(digests, content.Digest.Encoded()), content.Kind
		}
		return err
	})
	switch {
	case err != nil || len(digests) == 0:
		return "", "", err
	case len(digests) > 1:
		return copier.Sum(digests).Encoded(), "multi:", nil
	}
	return digests[0], kind, nil
}

// each calls do for the sources: local ones together where they have one root, downloads one by one.
func (f *copyFlags) each(ctx context.Context, s *builder.Store, words []string, do func(source.Source, builder.CopyOptions) error) error {
	if f.from != "" {
		f.o.KeepOwner, f.o.Unpack = f.o.Chown == "", f.add
		return s.ViewOf(ctx, f.from, f.pull, func(root *rootfs.Root) error {
			return do(source.Dir(root, f.from, words...), f.o)
		})
	}
	for _, w := range words {
		src, err := f.remote(s, w)
		switch {
		case err != nil:
			return err
		case src != nil:
			err = do(src, f.o)
		case f.checksum != "":
			err = errors.New("checksum flag is not supported for local sources")
		default:
			err = f.local(w, do)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remote is the source that a word names if that is not on this machine, else nil.
func (f *copyFlags) remote(s *builder.Store, word string) (source.Source, error) {
	o := builder.FetchOptions{Registry: f.pull.Registry, Checksum: f.checksum}
	switch {
	case source.IsGit(word):
		g, err := s.Git(word, o)
		if err != nil {
			return nil, err
		}
		return g, nil
	case source.IsURL(word):
		return s.Download(word, o)
	}
	return nil, nil
}

// local copies one word from the host: below the context directory, or from anywhere.
func (f *copyFlags) local(word string, do func(source.Source, builder.CopyOptions) error) error {
	o := f.o
	o.Unpack = f.add
	dir, pattern := f.contextDir, word
	if dir == "" {
		here, err := filepath.Abs(".")
		if err != nil {
			return err
		}
		dir, pattern = "/", f.fromHere(here, word)
	} else {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if pattern, err = below(abs, word); err != nil {
			return err
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

// fromHere is a source word as seen from the root. The current directory is no pattern, and with --parents it is where the
// directories that are kept begin.
func (f *copyFlags) fromHere(here, word string) string {
	if path.IsAbs(word) {
		return word
	}
	here = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(here)
	if f.o.Parents && !strings.Contains(word, "/./") {
		return here + "/./" + word
	}
	return here + "/" + word
}

// below is a source word as seen from the context directory: a word that begins with the directory's own path means
// that path, any other is below it (exact.md, cli.md §9.3).
func below(dir, word string) (string, error) {
	if word == dir {
		return ".", nil
	}
	if rest, ok := strings.CutPrefix(word, strings.TrimSuffix(dir, "/")+"/"); ok {
		word = rest
	}
	if clean := path.Clean(word); clean == ".." || strings.HasPrefix(clean, "../") {
		return "", fmt.Errorf("possible escaping context directory error: %q is outside of %q", word, dir)
	}
	return word, nil
}

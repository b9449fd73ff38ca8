package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
)

func newSaveCmd(g *globals) *cobra.Command {
	var file, format string
	var quiet bool
	cmd := &cobra.Command{Use: "save [flags] IMAGE...", Short: "Write images to an archive", Args: atLeast(1, "an image must be specified"),
		Example: "  save -o images.tar app base\n  save app | gzip > app.tar.gz\n  save --format oci-archive -o app.tar app"}
	fs := cmd.Flags()
	fs.StringVarP(&file, "output", "o", "", "`file` to write instead of standard output")
	fs.StringVar(&format, "format", "docker-archive", "`format` of the archive: docker-archive, or oci-archive for one image")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		var report io.Writer
		if !quiet {
			report = g.err
		}
		if file != "" {
			return s.Save(ctx, args, file, format, report)
		}
		if f, ok := g.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return errors.New("will not write an archive to a terminal: use --output or redirect")
		}
		return withTemp(s, func(tmp string) error {
			if err := s.Save(ctx, args, tmp, format, report); err != nil {
				return err
			}
			f, err := os.Open(tmp)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(g.out, f)
			return err
		})
	})
	return cmd
}

func newLoadCmd(g *globals) *cobra.Command {
	var file string
	var quiet bool
	cmd := &cobra.Command{Use: "load [flags]", Short: "Put the images of an archive into local storage", Args: cobra.NoArgs,
		Example: "  load -i images.tar\n  gunzip -c app.tar.gz | PROGRAM load"}
	cmd.Flags().StringVarP(&file, "input", "i", "", "archive `file`, or the directory of an OCI layout, instead of standard input")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, _ []string) error {
		var report io.Writer
		if !quiet {
			report = g.err
		}
		if file != "" {
			return g.loaded(s.Load(ctx, file, report))
		}
		if g.in == nil || term.IsTerminal(int(g.in.Fd())) {
			return errors.New("nothing to load: use --input or redirect an archive")
		}
		return withTemp(s, func(tmp string) error {
			f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			n, err := io.Copy(f, g.in)
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("reading standard input: %w", err)
			}
			if n == 0 {
				return errors.New("nothing to load, standard input is empty: use --input or redirect an archive")
			}
			return g.loaded(s.Load(ctx, tmp, report))
		})
	})
	return cmd
}

// loaded says what was loaded: names, or the ID of an image without.
func (g *globals) loaded(images []*builder.Image, err error) error {
	for _, i := range images {
		if i == nil {
			continue
		}
		names := i.Names()
		if len(names) == 0 {
			names = []string{"sha256:" + i.ID()}
		}
		err = errors.Join(err, lines(g.out, names, func(n string) string { return "Loaded image: " + n }))
	}
	return err
}

// withTemp calls f with the name of a temporary file that does not exist yet.
func withTemp(s *builder.Store, f func(file string) error) error {
	dir, done, err := s.Scratch()
	if err != nil {
		return err
	}
	return errors.Join(f(filepath.Join(dir, "archive")), done())
}

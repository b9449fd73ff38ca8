package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

type imageRow struct {
	Name, Tag, ID, Digest string
	Created               int64
	CreatedAt             string
	CreatedAtRaw          string
	Size                  string
	ReadOnly              bool
	History               string
}

type imageJSON struct {
	ID           string    `json:"id"`
	Names        []string  `json:"names"`
	Digest       string    `json:"digest"`
	CreatedAt    string    `json:"createdat"`
	Size         string    `json:"size"`
	Created      int64     `json:"created"`
	CreatedAtRaw time.Time `json:"createdatraw"`
	ReadOnly     bool      `json:"readonly"`
	History      []string  `json:"history"`
}

// imagesFlags are the flags of images.
type imagesFlags struct {
	all, digests, history, asJSON, noTrunc, noheading, quiet bool
	format                                                   string
	filters                                                  []string
}

func newImagesCmd(g *globals) *cobra.Command {
	var f imagesFlags
	cmd := &cobra.Command{
		Use: "images [flags] [IMAGE]", Short: "List images in local storage", Example: "  images\n  images --filter dangling=true -q",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("'%s images' requires at most 1 argument", g.program)
			case len(args) == 1 && f.all:
				return errors.New("when using the --all switch, you may not pass any images names or IDs")
			case f.quiet && f.format != "":
				return errors.New("quiet and format are mutually exclusive")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&f.all, "all", "a", false, "also intermediate images")
	fs.BoolVar(&f.digests, "digests", false, "show digests")
	fs.StringSliceVarP(&f.filters, "filter", "f", nil, "show what `name=value` matches, or with != does not: after, before, containers, dangling, digest, id, intermediate, label, manifest, readonly, reference, since, until")
	fs.StringVar(&f.format, "format", "", "Go `template` for each row, or json; under headings with table in front: .Name .Tag .ID .Digest .Created .CreatedAt .CreatedAtRaw .Size .ReadOnly .History")
	fs.BoolVar(&f.history, "history", false, "show former names")
	fs.BoolVar(&f.asJSON, "json", false, "print JSON")
	fs.BoolVar(&f.noTrunc, "no-trunc", false, "print whole IDs")
	fs.BoolVarP(&f.noheading, "noheading", "n", false, "print no heading")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "print IDs only")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		list, err := f.list(ctx, s, args)
		if err != nil {
			return err
		}
		return f.print(g.out, list)
	})
	return cmd
}

func (f *imagesFlags) list(ctx context.Context, s *builder.Store, args []string) ([]*builder.Image, error) {
	if len(args) == 1 && len(f.filters) == 0 {
		img, err := s.Image(args[0])
		return []*builder.Image{img}, err
	}
	all, err := s.Images()
	if err != nil {
		return nil, err
	}
	if len(args) == 1 {
		img, err := s.Image(args[0])
		if err != nil {
			return nil, err
		}
		all = []*builder.Image{img}
	}
	keep, err := newImageFilter(s, f.filters)
	if err != nil {
		return nil, err
	}
	var list []*builder.Image
	for _, i := range all {
		ok, err := keep.keeps(ctx, i)
		if err != nil {
			return nil, err
		}
		if ok && (f.all || len(args) == 1 || !keep.intermediate[i.ID()]) {
			list = append(list, i)
		}
	}
	return list, nil
}

func (f *imagesFlags) print(w io.Writer, list []*builder.Image) error {
	if f.asJSON || f.format == jsonFormat {
		return f.printJSON(w, list)
	}
	if f.quiet {
		return lines(w, list, func(i *builder.Image) string { return f.id(i) })
	}
	var rows []imageRow
	for _, i := range list {
		r, err := f.rows(i)
		if err != nil {
			return err
		}
		rows = append(rows, r...)
	}
	if f.format != "" {
		return writeTemplate(w, f.format, rows, map[string]string{"Name": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "Digest": "DIGEST", "CreatedAt": "CREATED", "Size": "SIZE",
			"Created": "CREATED", "CreatedAtRaw": "CREATED", "ReadOnly": "READ ONLY", "History": "HISTORY"})
	}
	return f.table(w, rows)
}

func (f *imagesFlags) id(i *builder.Image) string {
	if f.noTrunc {
		return "sha256:" + i.ID()
	}
	return i.ID()[:12]
}

func (f *imagesFlags) rows(i *builder.Image) ([]imageRow, error) {
	size, err := i.Size()
	if err != nil {
		return nil, err
	}
	names := i.Names()
	if len(names) == 0 {
		names = []string{"<none>:<none>"}
	}
	var rows []imageRow
	for _, n := range names {
		repo, _, _ := strings.Cut(n, "@")
		tag := "<none>"
		if at := strings.LastIndex(repo, ":"); at > strings.LastIndex(repo, "/") {
			repo, tag = repo[:at], repo[at+1:]
		}
		rows = append(rows, imageRow{Name: repo, Tag: tag, ID: f.id(i), Digest: i.Digest().String(), Created: i.Created().Unix(),
			CreatedAt: age(i.Created()), CreatedAtRaw: i.Created().Format(time.RFC3339Nano), Size: sizeText(size), ReadOnly: i.ReadOnly(),
			History: cmp.Or(strings.Join(i.FormerNames(), ", "), "<none>")})
	}
	return rows, nil
}

func age(t time.Time) string { return units.HumanDuration(time.Since(t)) + " ago" }

// sizeText has three significant digits, in decimal units.
func sizeText(n int64) string {
	return units.CustomSize("%.3g %s", float64(n), 1000, []string{"B", "KB", "MB", "GB", "TB", "PB"})
}

func (f *imagesFlags) table(w io.Writer, rows []imageRow) error {
	tw := tabwriter.NewWriter(w, 0, 2, 3, ' ', 0)
	line := func(r imageRow) {
		cells := []string{r.Name, r.Tag}
		if f.digests {
			cells = append(cells, r.Digest)
		}
		cells = append(cells, r.ID, r.CreatedAt, r.Size)
		if f.history {
			cells = append(cells, r.History)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	if !f.noheading {
		line(imageRow{Name: "REPOSITORY", Tag: "TAG", Digest: "DIGEST", ID: "IMAGE ID", CreatedAt: "CREATED", Size: "SIZE", History: "HISTORY"})
	}
	for _, r := range rows {
		line(r)
	}
	return tw.Flush()
}

func (f *imagesFlags) printJSON(w io.Writer, list []*builder.Image) error {
	rows := []imageJSON{}
	for _, i := range list {
		size, err := i.Size()
		if err != nil {
			return err
		}
		rows = append(rows, imageJSON{i.ID(), i.Names(), i.Digest().String(), age(i.Created()), sizeText(size), i.Created().Unix(), i.Created(), i.ReadOnly(), i.FormerNames()})
	}
	return writeJSON(w, rows)
}

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

type historyRow struct {
	Created   string `json:"created"`
	CreatedBy string `json:"createdBy"`
	Size      int64  `json:"size"`
	DiffID    string `json:"diffID,omitempty"`
	Comment   string `json:"comment,omitempty"`
}

// CreatedAt is the time as podman's and docker's templates name it.
func (r historyRow) CreatedAt() string { return r.Created }

// CreatedSince is how long that is ago.
func (r historyRow) CreatedSince() string {
	if t, err := time.Parse(time.RFC3339, r.Created); err == nil {
		return age(t)
	}
	return "<unknown>"
}

func newHistoryCmd(g *globals) *cobra.Command {
	var asJSON, noTrunc, noheading bool
	var format string
	cmd := &cobra.Command{Use: "history [flags] IMAGE", Short: "Show how an image was made", Args: exactly(1, "an image must be specified"),
		Example: "  history app\n  history --no-trunc app\n  history --format '{{.CreatedBy}}' app"}
	fs := cmd.Flags()
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	fs.BoolVar(&noTrunc, "no-trunc", false, "print whole commands")
	fs.BoolVarP(&noheading, "noheading", "n", false, "print no heading")
	fs.StringVar(&format, "format", "", "Go `template` for each row, or json: .Created (.CreatedAt) .CreatedSince .CreatedBy .Size .DiffID .Comment")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		img, err := s.Image(args[0])
		if err != nil {
			return err
		}
		list, err := img.History(ctx)
		if err != nil {
			return err
		}
		rows := make([]historyRow, 0, len(list))
		for _, l := range list {
			r := historyRow{CreatedBy: l.CreatedBy, Size: l.Size, DiffID: l.DiffID.String(), Comment: l.Comment}
			if l.Created != nil {
				r.Created = l.Created.Format(time.RFC3339)
			}
			rows = append(rows, r)
		}
		switch {
		case asJSON, format == jsonFormat:
			return writeJSON(g.out, rows)
		case format != "":
			return writeTemplate(g.out, format, rows, map[string]string{"Created": "CREATED", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED", "CreatedBy": "CREATED BY", "Size": "SIZE", "DiffID": "DIFF ID", "Comment": "COMMENT"})
		}
		return historyTable(g.out, rows, noTrunc, noheading)
	})
	return cmd
}

func historyTable(w io.Writer, rows []historyRow, noTrunc, noheading bool) error {
	tw := tabwriter.NewWriter(w, 0, 2, 3, ' ', 0)
	if !noheading {
		fmt.Fprintln(tw, "CREATED\tCREATED BY\tSIZE\tCOMMENT")
	}
	for _, r := range rows {
		by := strings.Join(strings.Fields(r.CreatedBy), " ")
		if !noTrunc && len([]rune(by)) > 60 {
			by = string([]rune(by)[:59]) + "…"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.CreatedSince(), by, sizeText(r.Size), r.Comment)
	}
	return tw.Flush()
}

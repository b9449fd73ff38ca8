package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah/cache"
)

func newSystemCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "system", Short: "Show what takes space", Example: "  system df", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	df := &cobra.Command{
		Use: "df [flags]", Short: "Show what images, containers and the build cache take", Args: cobra.NoArgs,
		Long: "Show what images, containers and the build cache take.\n\n" +
			"With --verbose also each cached step that only the cache keeps, and each cache mount, those that were used last first.",
		Example: "  system df\n  system df --verbose\n  system df --json",
	}
	asJSON := df.Flags().Bool("json", false, "as JSON, sizes in bytes")
	verbose := df.Flags().BoolP("verbose", "v", false, "also what the build cache holds")
	df.RunE = g.withStore(func(_ context.Context, s *builder.Store, _ []string) error {
		uses, err := s.DiskUse()
		if err != nil {
			return err
		}
		if !*verbose {
			if *asJSON {
				return json.NewEncoder(g.out).Encode(uses)
			}
			return useTable(g.out, uses)
		}
		held := holding{Use: uses}
		if err := held.read(s); err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(g.out).Encode(held)
		}
		return held.table(g.out)
	})
	cmd.AddCommand(df)
	return cmd
}

// holding is what df --verbose shows.
type holding struct {
	Use    []builder.Use
	Steps  []stepRow
	Mounts []builder.MountUse
}

// stepRow is a cached step: by its layer, since what was executed always has no key.
type stepRow struct {
	Layer, Step string
	Keys        []string
	Size        int64
	Used        time.Time
}

func (h *holding) read(s *builder.Store) (err error) {
	steps, err := s.CachedSteps()
	if err != nil {
		return err
	}
	h.Steps = make([]stepRow, 0, len(steps))
	for _, step := range steps {
		row := stepRow{Layer: step.ID, Keys: step.Keys, Size: step.Size, Used: step.Used.UTC()}
		for _, key := range step.Keys {
			row.Step = first(row.Step, cache.Text(s.StepNote(key)))
		}
		h.Steps = append(h.Steps, row)
	}
	h.Mounts, err = s.CacheMounts()
	return err
}

func (h *holding) table(w io.Writer) error {
	if err := useTable(w, h.Use); err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 4, ' ', 0)
	fmt.Fprintln(tw, "\nLAYER\tSIZE\tLAST USED\tSTEP")
	for _, s := range h.Steps {
		fmt.Fprintf(tw, "%.12s\t%s\t%s\t%s\n", s.Layer, units.HumanSize(float64(s.Size)), age(s.Used), oneColumn(s.Step))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(tw, "\nCACHE MOUNT\tSIZE\tLAST USED")
	for _, m := range h.Mounts {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", oneColumn(m.ID), units.HumanSize(float64(m.Size)), age(m.Used))
	}
	return tw.Flush()
}

// oneColumn is a text of a Dockerfile as a column of a table: short, and without what would move the cursor.
func oneColumn(text string) string {
	r := []rune(strings.Join(strings.Fields(text), " "))
	if len(r) > 60 {
		r = append(r[:59], '…')
	}
	quoted := strconv.QuoteToGraphic(string(r))
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

func useTable(w io.Writer, uses []builder.Use) error {
	tw := tabwriter.NewWriter(w, 0, 0, 4, ' ', 0)
	fmt.Fprintln(tw, "TYPE\tTOTAL\tSIZE\tRECLAIMABLE")
	for _, u := range uses {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\n", u.Kind, u.Count, units.HumanSize(float64(u.Size)), units.HumanSize(float64(u.Reclaimable)))
	}
	return tw.Flush()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

type containerRow struct {
	ContainerID   string `json:"id"`
	Builder       string `json:"-"`
	Working       bool   `json:"builder"`
	ImageID       string `json:"imageid"`
	ImageName     string `json:"imagename"`
	ContainerName string `json:"containername"`
}

func newContainersCmd(g *globals) *cobra.Command {
	var all, asJSON, noheading, notruncate, quiet bool
	var filter, format string
	cmd := &cobra.Command{
		Use: "containers [flags]", Short: "List working containers", Example: "  containers\n  containers --format '{{.ContainerName}}'",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return fmt.Errorf("'%s containers' does not accept arguments", g.program)
			case quiet && format != "":
				return errors.New("quiet and format are mutually exclusive")
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "also containers of other tools")
	fs.StringVarP(&filter, "filter", "f", "", "show what `name=value` matches: id, name or ancestor")
	fs.StringVar(&format, "format", "", "Go `template` for each row, or json: .ContainerID .Builder .ImageID .ImageName .ContainerName")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	fs.BoolVarP(&noheading, "noheading", "n", false, "print no heading")
	fs.BoolVar(&notruncate, "notruncate", false, "print whole IDs")
	fs.BoolVarP(&quiet, "quiet", "q", false, "print IDs only")
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, _ []string) error {
		keep, err := containerFilter(filter)
		if err != nil {
			return err
		}
		list, err := s.Containers(all)
		if err != nil {
			return err
		}
		var rows []containerRow
		for _, c := range list {
			if keep(c) {
				rows = append(rows, containerRow{c.ID, mark(c.Working), c.Working, c.ImageID, c.ImageName, c.Name})
			}
		}
		switch {
		case asJSON, format == jsonFormat:
			return writeJSON(g.out, rows)
		case quiet:
			return lines(g.out, rows, func(r containerRow) string { return r.ContainerID })
		case format != "":
			return writeTemplate(g.out, format, rows, map[string]string{"ContainerID": "CONTAINER ID", "Builder": "BUILDER",
				"Working": "WORKING", "ImageID": "IMAGE ID", "ImageName": "IMAGE NAME", "ContainerName": "CONTAINER NAME"})
		}
		return containerTable(g.out, rows, noheading, notruncate)
	})
	return cmd
}

func mark(working bool) string {
	if working {
		return "   *"
	}
	return ""
}

func containerTable(w io.Writer, rows []containerRow, noheading, notruncate bool) error {
	shape := "%-12.12s  %-8s %-12.12s %-32s %s\n"
	if notruncate {
		shape = "%-64s %-8s %-64s %-32s %s\n"
	}
	if !noheading {
		if _, err := fmt.Fprintf(w, shape, "CONTAINER ID", "BUILDER", "IMAGE ID", "IMAGE NAME", "CONTAINER NAME"); err != nil {
			return err
		}
	}
	for _, r := range rows {
		name := r.ImageName
		if len(name) > 32 && !notruncate {
			name = name[:29] + "..."
		}
		if _, err := fmt.Fprintf(w, shape, r.ContainerID, r.Builder, r.ImageID, name, r.ContainerName); err != nil {
			return err
		}
	}
	return nil
}

func containerFilter(text string) (func(builder.ContainerInfo) bool, error) {
	type test func(builder.ContainerInfo) bool
	var tests []test
	for _, f := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return nil, fmt.Errorf("incorrect filter value %q, should be of form filter=value", f)
		}
		switch key {
		case "id":
			tests = append(tests, func(c builder.ContainerInfo) bool { return strings.HasPrefix(c.ID, value) })
		case "name":
			tests = append(tests, func(c builder.ContainerInfo) bool { return strings.Contains(c.Name, value) })
		case "ancestor":
			tests = append(tests, func(c builder.ContainerInfo) bool {
				return strings.HasPrefix(c.ImageID, value) || strings.HasSuffix(c.ImageName, value) || strings.HasSuffix(c.ImageName, value+":latest")
			})
		default:
			return nil, fmt.Errorf("invalid filter %q", key)
		}
	}
	return func(c builder.ContainerInfo) bool {
		for _, t := range tests {
			if !t(c) {
				return false
			}
		}
		return true
	}, nil
}

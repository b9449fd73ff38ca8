package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
)

// parseTemplate parses a --format value, with the function json.
func parseTemplate(format string) (*template.Template, error) {
	t, err := template.New("format").Funcs(template.FuncMap{"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}}).Parse(format)
	if err != nil {
		return nil, fmt.Errorf("parsing format: %w", err)
	}
	return t, nil
}

// writeTemplate prints a template for each row, in columns; "table " in front asks for headings.
func writeTemplate[T any](w io.Writer, format string, rows []T, headings map[string]string) error {
	format = strings.NewReplacer(`\t`, "\t", "}} {{", "}}\t{{").Replace(format) // a blank between fields begins a column
	format, table := strings.CutPrefix(format, "table ")
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 2, 3, ' ', 0)
	if table {
		if err := t.Execute(tw, headings); err != nil {
			return err
		}
		fmt.Fprintln(tw)
	}
	for _, r := range rows {
		var b bytes.Buffer
		if err := t.Execute(&b, r); err != nil {
			return fmt.Errorf("applying format: %w", err)
		}
		fmt.Fprintln(tw, b.String())
	}
	return tw.Flush()
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"text/template"
)

// jsonFormat is the --format that asks for JSON, as docker and podman have it.
const jsonFormat = "json"

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

// execute prints a value by a template: all of it, or nothing and an error.
func execute(w io.Writer, t *template.Template, v any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, v); err != nil {
		return fmt.Errorf("applying format: %w", withFields(err, v))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// withFields puts the fields that a value has in the place of the name of its Go type, in the error of a template that asks for another.
func withFields(err error, v any) error {
	t := reflect.TypeOf(v)
	text, ok := strings.CutSuffix(err.Error(), " in type "+t.String())
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if !ok || t.Kind() != reflect.Struct {
		return err
	}
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		if f.IsExported() && !f.Anonymous {
			names = append(names, "."+f.Name)
		}
	}
	return errors.New(text + ": there are " + strings.Join(names, " "))
}

// writeTemplate prints a template for each row, in columns; "table " in front asks for headings.
func writeTemplate[T any](w io.Writer, format string, rows []T, headings map[string]string) error {
	format = strings.NewReplacer(`\t`, "\t", "}} {{", "}}\t{{").Replace(format) // a blank between fields begins a column
	format, table := strings.CutPrefix(format, "table ")
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 2, 3, ' ', 0)
	if table {
		if err := execute(tw, t, headings); err != nil {
			return err
		}
		fmt.Fprintln(tw)
	}
	for _, r := range rows {
		if err := execute(tw, t, r); err != nil {
			return err
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// writeJSON prints a value with four blanks of indentation, a nil slice as null.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func lines[T any](w io.Writer, rows []T, text func(T) string) error {
	for _, r := range rows {
		if _, err := fmt.Fprintln(w, text(r)); err != nil {
			return err
		}
	}
	return nil
}

// oneLine keeps an error on one line, with no control characters of hostile input.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case unicode.IsControl(r) && r != '\t':
			return -1
		}
		return r
	}, strings.TrimSpace(text))
}

// writeFile writes an ID file. A device, as /dev/null, is written in place.
func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o644) } //nolint:gosec // for other programs to read

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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

// writeFile writes an ID file. A device, as /dev/null, is written in place; where the name means one of our own streams (/dev/stdout), what a
// shell has had written to that file before stays.
func writeFile(name, text string) error {
	if info, err := os.Stat(name); err == nil {
		for _, stream := range []*os.File{os.Stdout, os.Stderr} {
			if own, err := stream.Stat(); err == nil && os.SameFile(info, own) {
				_, err := stream.WriteString(text)
				return err
			}
		}
	}
	return os.WriteFile(name, []byte(text), 0o644) //nolint:gosec // for other programs to read
}

// writable says before the work why a file for its result, "" for none, cannot be written after it.
func writable(flag, name string) error {
	if name == "" {
		return nil
	}
	info, err := os.Stat(name)
	var f *os.File
	switch {
	case errors.Is(err, fs.ErrNotExist): // an empty file left by a failed build would be taken for a result
		if f, err = os.CreateTemp(filepath.Dir(name), ".slipway-"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	case err == nil && info.IsDir():
		err = syscall.EISDIR
	case err == nil && info.Mode().IsRegular():
		if f, err = os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			err = f.Close()
		}
	}
	return cannotWrite(flag, name, err)
}

// cannotWrite says which flag's file it is that an error is about.
func cannotWrite(flag, name string, err error) error {
	var why *fs.PathError
	if errors.As(err, &why) {
		err = why.Err // the name is of no use where it is a temporary one
	}
	if err != nil {
		return fmt.Errorf("%s %s cannot be written: %w", flag, name, err)
	}
	return nil
}

// writableDir refuses a directory that cannot be made or written to: it, or what is there of the path to it, must be a directory.
func writableDir(flag, name string) error {
	at := filepath.Clean(name)
	info, err := os.Stat(at)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	switch {
	case err != nil:
	case !info.IsDir():
		err = syscall.ENOTDIR
	default:
		err = syscall.Access(at, 3) // to write and to search
	}
	return cannotWrite(flag, name, err)
}

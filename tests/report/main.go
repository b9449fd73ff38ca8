// Command report runs `go test` and prints a line for each package, the output of
// what fails, and every skipped check with its reason, which plain `go test` hides.
//
//	go run ./tests/report go test ./...
//
// The exit code is that of the tests.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: report go test [ARG…]")
		os.Exit(2)
	}
	args := slices.Insert(slices.Clone(os.Args[2:]), 1, "-json")
	cmd := exec.Command(os.Args[1], args...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	render(pipe, os.Stdout)
	if err := cmd.Wait(); err != nil {
		os.Exit(1)
	}
}

// An event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// render reads events and writes the report. Output of a test is kept until its
// fate is known.
func render(r io.Reader, w io.Writer) {
	kept := map[string][]string{}
	passed, failed, skipped := 0, 0, 0
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(w, "%s", line) // not from the test: the tool chain speaks
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			kept[key] = append(kept[key], e.Output)
			continue
		case "pass":
			passed++
		case "fail", "build-fail":
			failed++
			fmt.Fprint(w, strings.Join(kept[key], ""))
			if e.Test == "" {
				unfinished(w, kept, key)
			}
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Fprintf(w, "SKIP %s: %s\n", strings.TrimSpace(e.Test), reason(kept[key]))
			}
		default:
			continue
		}
		if e.Test == "" && (e.Action == "pass" || e.Action == "fail") {
			fmt.Fprintf(w, "%-4s %s %.1fs\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], e.Package, e.Elapsed)
		}
		delete(kept, key)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

// unfinished prints what the tests of a failed package said that came to no end, as when the time was up.
func unfinished(w io.Writer, kept map[string][]string, pkg string) {
	for _, key := range slices.Sorted(maps.Keys(kept)) {
		if name, ok := strings.CutPrefix(key, pkg); ok && name != "" {
			lines := kept[key]
			if at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic:") }); at > 0 {
				lines = lines[at:] // the goroutines below it are thousands of lines
			}
			fmt.Fprintf(w, "UNFINISHED %s\n%s", name, strings.Join(lines[:min(len(lines), 40)], ""))
			delete(kept, key)
		}
	}
}

// reason finds why a test was skipped: the last line that says something, without
// the place in the source.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--- SKIP") || strings.HasPrefix(line, "=== ") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			_, line, _ = strings.Cut(after, ": ")
		}
		return line
	}
	return "no reason given"
}

// Command report runs `go test` and prints a line for each package, the output of
// what fails, and every skipped check with its reason, which plain `go test` hides.
//
//	go run ./tests/report go test ./...
//
// A few tests that failed are run once more, alone: thousands of programs side by
// side on two cores find races of the tests that are none of the program. Such a
// test is named with FLAKY and the output of its failure stays in the report; what
// fails again has failed. The exit code is that of the tests. The last argument
// names the packages.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// mostAgain is how many failed tests are believed to have failed by chance.
const mostAgain = 5

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: report go test [ARG…] PACKAGES")
		os.Exit(2)
	}
	failed, err := run(os.Args[1], os.Args[2:])
	if err != nil && again(failed) {
		err = nil
		for _, f := range failed {
			if f.run(os.Args[1:]) != nil {
				err = fmt.Errorf("%s failed twice", f.Test)
				continue
			}
			fmt.Printf("FLAKY %s: failed beside the others and passed alone\n", f.Test)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run runs the tests and returns those that failed.
func run(program string, args []string) ([]failure, error) {
	cmd := exec.Command(program, slices.Insert(slices.Clone(args), 1, "-json")...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	failed := render(pipe, os.Stdout)
	return failed, cmd.Wait()
}

// A failure is a test that failed; without Test, a package that did not build or came to no end.
type failure struct{ Package, Test string }

// again says whether the failures are few and all of them tests.
func again(failed []failure) bool {
	whole := func(f failure) bool { return f.Test == "" }
	return 0 < len(failed) && len(failed) <= mostAgain && !slices.ContainsFunc(failed, whole)
}

// run runs that test alone; command is the one that ran them all.
func (f failure) run(command []string) error {
	var pattern []string
	for name := range strings.SplitSeq(f.Test, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(name)+"$")
	}
	args := slices.Concat(command[1:len(command)-1], []string{"-count=1", "-run", strings.Join(pattern, "/"), f.Package})
	_, err := run(command[0], args)
	return err
}

// leaves drops the failures that only stand for one below them, of a test or of a package.
func leaves(failed []failure) []failure {
	return slices.DeleteFunc(slices.Clone(failed), func(f failure) bool {
		return slices.ContainsFunc(failed, func(g failure) bool {
			return f.Package == g.Package && f != g && (f.Test == "" || strings.HasPrefix(g.Test, f.Test+"/"))
		})
	})
}

// An event is one line of `go test -json`.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// render reads events, writes the report and returns what failed. Output of a test
// is kept until its fate is known.
func render(r io.Reader, w io.Writer) []failure {
	kept := map[string][]string{}
	var failures []failure
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
			failures = append(failures, failure{e.Package, e.Test})
			if e.Test == "" && unfinished(w, kept, key) {
				failures = append(failures, failure{})
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
	return leaves(failures)
}

// unfinished prints what the tests of a failed package said that came to no end, as
// when the time was up, and says whether there were any.
func unfinished(w io.Writer, kept map[string][]string, pkg string) (found bool) {
	for _, key := range slices.Sorted(maps.Keys(kept)) {
		if name, ok := strings.CutPrefix(key, pkg); ok && name != "" {
			lines := kept[key]
			if at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "panic:") }); at > 0 {
				lines = lines[at:] // the goroutines below it are thousands of lines
			}
			fmt.Fprintf(w, "UNFINISHED %s\n%s", name, strings.Join(lines[:min(len(lines), 40)], ""))
			delete(kept, key)
			found = true
		}
	}
	return found
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

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/imagebuildah"
)

// What a command prints cannot move the cursor or clear the screen.
func TestCut(t *testing.T) {
	t.Parallel()
	if got := cut("a\x1b[2Jb\tc\u009bd\nlong", 6); got != "a[2Jb…" {
		t.Errorf("%q", got)
	}
}

// Finished steps stay above what runs; a failure shows the last output.
func TestTTY(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	y := newTTY(&out, 40)
	y.see(imagebuildah.Event{Kind: "stage", Steps: 3, Stages: 1, Text: "FROM x"})
	y.see(imagebuildah.Event{Kind: "step", Step: 2, Steps: 3, Stages: 1, Text: "RUN first"})
	y.see(imagebuildah.Event{Kind: "done", Step: 2, Steps: 3, Stages: 1, Text: "RUN first", Layer: "x", Bytes: 2048, Seconds: 1.5})
	y.see(imagebuildah.Event{Kind: "warning", Text: "beside"})
	if got := out.String(); strings.Contains(got[strings.Index(got, "2.048kB"):], "RUN first") {
		t.Errorf("a finished step is shown again: %q", got)
	}
	y.see(imagebuildah.Event{Kind: "step", Step: 3, Steps: 3, Stages: 1, Text: "RUN second"})
	y.see(imagebuildah.Event{Kind: "output", Stream: 1, Text: "one\ntw"})
	y.see(imagebuildah.Event{Kind: "output", Stream: 1, Text: "o\n"})
	y.end(true)
	for _, want := range []string{"[1/3] FROM x", "[2/3] RUN first", "2.048kB 1.5s\n", "[3/3] RUN second\n  | one\n  | two\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

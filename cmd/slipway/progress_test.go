package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/imagebuildah"
)

// Finished steps stay above what runs; a failure shows the last output.
func TestTTY(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	y := newTTY(&out, func() (int, int) { return 40, 0 })
	y.see(imagebuildah.Event{Kind: "stage", Steps: 3, Stages: 1, Text: "FROM x"})
	y.see(imagebuildah.Event{Kind: "step", Step: 2, Steps: 3, Stages: 1, Text: "RUN first"})
	y.see(imagebuildah.Event{Kind: "done", Step: 2, Steps: 3, Stages: 1, Text: "RUN first", Layer: "x", Bytes: 2048, Seconds: 1.5})
	y.see(imagebuildah.Event{Kind: "step", Step: 3, Steps: 3, Stages: 1, Text: "RUN second"})
	before := out.Len()
	fmt.Fprintln(y, "logged")
	if got, want := out.String()[before:], "\r\x1b[1A\x1b[Jlogged\n\x1b[?7l[3/3] RUN second"; !strings.HasPrefix(got, want) {
		t.Errorf("what is logged is not above what runs: %q", got)
	}
	y.see(imagebuildah.Event{Kind: "warning", Text: "beside"})
	if got := out.String(); strings.Contains(got[strings.Index(got, "2.048kB"):], "RUN first") {
		t.Errorf("a finished step is shown again: %q", got)
	}
	y.see(imagebuildah.Event{Kind: "waiting", Step: 3, Steps: 3, Stages: 1, Text: "stage x"})
	y.see(imagebuildah.Event{Kind: "step", Step: 3, Steps: 3, Stages: 1, Text: "RUN second"})
	y.see(imagebuildah.Event{Kind: "output", Stream: 1, Text: "one\ntw"})
	y.see(imagebuildah.Event{Kind: "output", Stream: 1, Text: "o\n"})
	y.see(imagebuildah.Event{Kind: "step", Stage: 1, Step: 3, Steps: 3, Stages: 2, Text: "RUN silent"})
	y.end(true)
	for _, want := range []string{"[1/3] FROM x", "[2/3] RUN first", "[3/3] waits for stage x", "2.048kB 1.5s\n", "[3/3] RUN second\n  | one\n  | two\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in %q", want, out.String())
		}
	}
}

// Whatever the terminal's size is, what is drawn over fits into it, and no line is longer than it is wide.
func TestTTYSize(t *testing.T) {
	t.Parallel()
	width, height := 40, 6
	y := newTTY(io.Discard, func() (int, int) { return width, height })
	defer y.end(false)
	y.ticker.Stop()
	for n := range 10 {
		y.see(imagebuildah.Event{Kind: "stage", Stage: n, Stages: 10, Text: "FROM x"})
		y.see(imagebuildah.Event{Kind: "output", Stage: n, Stages: 10, Text: "日本語の出力\n10%\r20%"})
	}
	for _, size := range [][3]int{{40, 6, 5}, {12, 2, 1}, {80, 100, 20}, {1, 1, 1}, {0, 0, 20}} {
		width, height = size[0], size[1]
		lines := y.running()
		if len(lines) != size[2] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, l := range lines {
			if columns(l) >= max(2, cmp.Or(width, 80)) {
				t.Errorf("%v: %q has %d columns", size, l, columns(l))
			}
		}
	}
	width, height = 40, 16
	y.see(imagebuildah.Event{Kind: "push", Text: "cache", Time: time.Now()})
	if first := y.running()[0]; first != "[push] cache                       0.0s" {
		t.Errorf("%q", first)
	}
	y.see(imagebuildah.Event{Kind: "pushed", Text: "cache"})
	y.see(imagebuildah.Event{Kind: "pull", Text: "image", Bytes: 2e6, Total: 3e6})
	if first := y.running()[0]; first != "[pull] image                    2MB/3MB" {
		t.Errorf("%q", first)
	}
	y.see(imagebuildah.Event{Kind: "pulled", Text: "image", Bytes: 3e6, Total: 3e6})
	width, height = 40, 6
	if last := y.running()[4]; last != "… and 6 more" {
		t.Errorf("%q", last)
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/imagebuildah"
)

// A watcher shows events of a build; end is called when it is over, with what became of it.
type watcher interface {
	see(imagebuildah.Event)
	end(failed bool)
}

// watch chooses how a build is shown (--progress), and returns what has to be called at its end.
func (f *buildFlags) watch() (end func(failed bool), err error) {
	var list []watcher
	kind := f.progress
	screen, isFile := f.g.err.(*os.File)
	if kind == "auto" {
		kind = "plain"
		if isFile && term.IsTerminal(int(screen.Fd())) && !f.o.Quiet && f.logfile == "" && f.g.env.plain("TERM") != "dumb" {
			kind = "tty"
		}
	}
	switch kind {
	case "plain":
	case "tty":
		width := 80
		if isFile {
			if w, _, err := term.GetSize(int(screen.Fd())); err == nil {
				width = w
			}
		}
		f.o.Out, f.o.Err, f.o.Pull.Report = nil, nil, nil
		list = append(list, newTTY(f.g.err, width))
	case "json":
		f.o.Out, f.o.Err, f.o.Pull.Report = nil, nil, nil
		lines := jsonLines{json.NewEncoder(f.g.err)}
		lines.to.SetEscapeHTML(false)
		list = append(list, lines)
	default:
		return nil, fmt.Errorf("invalid --progress %q: want auto, plain, tty or json", f.progress)
	}
	if f.timings {
		list = append(list, &timings{to: f.g.err})
	}
	if len(list) > 0 {
		f.o.Progress = func(e imagebuildah.Event) {
			for _, w := range list {
				w.see(e)
			}
		}
	}
	return func(failed bool) {
		for _, w := range list {
			w.end(failed)
		}
	}, nil
}

// jsonLines writes an event a line.
type jsonLines struct{ to *json.Encoder }

func (j jsonLines) see(e imagebuildah.Event) { _ = j.to.Encode(e) }
func (jsonLines) end(bool)                   {}

// timings prints a table of steps at the end (--timings).
type timings struct {
	to    io.Writer
	steps []imagebuildah.Event
}

func (t *timings) see(e imagebuildah.Event) {
	if e.Kind == "done" && e.Layer != "" || e.Kind == "cached" {
		t.steps = append(t.steps, e)
	}
}

func (t *timings) end(bool) {
	slices.SortStableFunc(t.steps, func(a, b imagebuildah.Event) int { return a.Stage - b.Stage })
	w := tabwriter.NewWriter(t.to, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "SECONDS\tSIZE\tCACHE\t  STEP")
	for _, e := range t.steps {
		hit := ""
		if e.Kind == "cached" {
			hit = "hit"
		}
		fmt.Fprintf(w, "%.2f\t%s\t%s\t  %s %s\n", e.Seconds, units.HumanSize(float64(e.Bytes)), hit, label(e), cut(e.Text, 60))
	}
	_ = w.Flush()
}

// label names a step: "[stage 2/4]".
func label(e imagebuildah.Event) string {
	var parts []string
	if e.Name != "" {
		parts = append(parts, e.Name)
	} else if e.Stages > 1 {
		parts = append(parts, fmt.Sprintf("stage-%d", e.Stage))
	}
	if e.Step > 0 {
		parts = append(parts, fmt.Sprintf("%d/%d", e.Step, e.Steps))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// cut shortens a text to n characters, and to one line without control characters: output of commands moves no cursor.
func cut(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text)
	if r := []rune(text); len(r) > n && n > 1 {
		return string(r[:n-1]) + "…"
	}
	return text
}

// shownLines is how much of a failed step's output is shown.
const shownLines = 20

// A tty shows finished steps as lines that stay, and below them the steps that run, with time and last line of output.
type tty struct {
	to     io.Writer
	width  int
	mu     sync.Mutex
	active map[int]*activity // by stage
	drawn  int               // lines that the next drawing replaces
	ticker *time.Ticker
	stop   chan struct{}
	over   sync.WaitGroup
}

// activity is what a stage does.
type activity struct {
	step    imagebuildah.Event
	start   time.Time
	lines   []string // the last ones of output
	partial string
}

func newTTY(to io.Writer, width int) *tty {
	t := &tty{to: to, width: width, active: map[int]*activity{}, ticker: time.NewTicker(200 * time.Millisecond), stop: make(chan struct{})}
	t.over.Go(func() {
		for {
			select {
			case <-t.stop:
				return
			case <-t.ticker.C:
				t.mu.Lock()
				t.draw("")
				t.mu.Unlock()
			}
		}
	})
	return t
}

func (t *tty) see(e imagebuildah.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case "stage", "step":
		t.active[e.Stage] = &activity{step: e, start: time.Now()}
		t.draw("")
	case "output":
		if a := t.active[e.Stage]; a != nil {
			a.print(e.Text)
		}
	case "cached":
		t.draw(t.line(label(e)+" "+e.Text, "CACHED"))
	case "done":
		if e.Layer != "" {
			t.draw(t.line(label(e)+" "+e.Text, fmt.Sprintf("%s %.1fs", units.HumanSize(float64(e.Bytes)), e.Seconds)))
		}
	case "warning":
		t.draw(cut(e.Text, t.width-1))
	case "stage-done":
		delete(t.active, e.Stage)
		t.draw("")
	}
}

func (a *activity) print(text string) {
	lines := strings.Split(a.partial+text, "\n")
	a.partial = lines[len(lines)-1]
	a.lines = append(a.lines, lines[:len(lines)-1]...)
	a.lines = a.lines[max(0, len(a.lines)-shownLines):]
	a.partial = a.partial[max(0, len(a.partial)-4096):] // a line without end
}

// line is a text with something at the right edge.
func (t *tty) line(text, right string) string {
	room := max(10, t.width-len(right)-2)
	text = cut(text, room)
	return text + strings.Repeat(" ", max(1, room-len([]rune(text))+1)) + right
}

// draw replaces what runs, with a finished line above it.
func (t *tty) draw(finished string) {
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", t.drawn)
	}
	if finished != "" {
		b.WriteString(finished + "\n")
	}
	t.drawn = 0
	stages := make([]int, 0, len(t.active))
	for n := range t.active {
		stages = append(stages, n)
	}
	slices.Sort(stages)
	for _, n := range stages {
		a := t.active[n]
		b.WriteString(t.line(label(a.step)+" "+a.step.Text, fmt.Sprintf("%.1fs", time.Since(a.start).Seconds())) + "\n")
		t.drawn++
		last := a.partial
		if last == "" && len(a.lines) > 0 {
			last = a.lines[len(a.lines)-1]
		}
		if last != "" {
			b.WriteString(cut("  | "+last, t.width-1) + "\n")
			t.drawn++
		}
	}
	_, _ = io.WriteString(t.to, b.String())
}

func (t *tty) end(failed bool) {
	t.ticker.Stop()
	close(t.stop)
	t.over.Wait()
	running := t.active
	t.active = map[int]*activity{}
	t.draw("")
	if !failed {
		return
	}
	for _, a := range running {
		if lines := append(a.lines, a.partial); len(lines) > 1 || a.partial != "" {
			fmt.Fprintf(t.to, "%s %s\n", label(a.step), cut(a.step.Text, t.width-20))
			for _, l := range lines[max(0, len(lines)-shownLines):] {
				fmt.Fprintln(t.to, "  | "+cut(l, 4096))
			}
		}
	}
}

// openLog sends all output to --logfile.
func (f *buildFlags) openLog() (func() error, error) {
	if f.logfile == "" {
		return func() error { return nil }, nil
	}
	log, err := os.OpenFile(f.logfile, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	if err := log.Chmod(0o600); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	f.o.Out, f.o.Err, f.o.Pull.Report = log, log, log
	return log.Close, nil
}

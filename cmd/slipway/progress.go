package main

import (
	"cmp"
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

	"github.com/slipway-build/slipway/builder"
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
	to := f.g.err
	if f.logfile != "" {
		to = f.o.Err // the log, which gets everything
	}
	screen, isFile := to.(*os.File)
	if kind == "auto" {
		kind = "plain"
		if isFile && term.IsTerminal(int(screen.Fd())) && !f.o.Quiet && f.logfile == "" && f.g.env.plain("TERM") != "dumb" {
			kind = "tty"
		}
	}
	switch kind {
	case "plain":
	case "tty":
		if f.logfile != "" {
			return nil, errors.New("--progress tty draws on a terminal: with --logfile use plain or json")
		}
		width := 80
		if isFile {
			if w, _, err := term.GetSize(int(screen.Fd())); err == nil && w > 0 { // some terminals do not know
				width = w
			}
		}
		f.o.Out, f.o.Err, f.o.Pull.Report = nil, nil, nil
		list = append(list, newTTY(to, width))
	case "json":
		f.o.Out, f.o.Err, f.o.Pull.Report = nil, nil, nil
		lines := jsonLines{json.NewEncoder(to)}
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
	slices.SortStableFunc(t.steps, func(a, b imagebuildah.Event) int { return placeOf(a).compare(placeOf(b)) })
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

// A place is a stage of the build for a platform.
type place struct {
	platform string
	stage    int
}

func placeOf(e imagebuildah.Event) place { return place{e.Platform, e.Stage} }

func (p place) compare(q place) int {
	return cmp.Or(strings.Compare(p.platform, q.platform), p.stage-q.stage)
}

// label names a step: "[stage 2/4]".
func label(e imagebuildah.Event) string {
	var parts []string
	if e.Platform != "" {
		parts = append(parts, e.Platform)
	}
	if e.Name != "" {
		parts = append(parts, e.Name)
	} else if e.Stages > 1 {
		parts = append(parts, fmt.Sprintf("stage-%d", e.Stage))
	}
	if e.Steps > 0 { // FROM, and what its image adds behind it, is the first
		parts = append(parts, fmt.Sprintf("%d/%d", max(e.Step, 1), e.Steps))
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
	active map[place]*activity
	drawn  int // lines that the next drawing replaces
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
	t := &tty{to: to, width: width, active: map[place]*activity{}, ticker: time.NewTicker(200 * time.Millisecond), stop: make(chan struct{})}
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
		t.active[placeOf(e)] = &activity{step: e, start: time.Now()}
		t.draw("")
	case "output":
		if a := t.active[placeOf(e)]; a != nil {
			a.print(e.Text)
		}
	case "cached":
		delete(t.active, placeOf(e)) // it is not shown twice
		t.draw(t.line(label(e)+" "+e.Text, "CACHED"))
	case "done":
		if e.Layer != "" {
			delete(t.active, placeOf(e))
			t.draw(t.line(label(e)+" "+e.Text, fmt.Sprintf("%s %.1fs", units.HumanSize(float64(e.Bytes)), e.Seconds)))
		}
	case "warning":
		t.draw(cut(e.Text, t.width-1))
	case "stage-done":
		delete(t.active, placeOf(e))
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
	stages := make([]place, 0, len(t.active))
	for n := range t.active {
		stages = append(stages, n)
	}
	slices.SortFunc(stages, place.compare)
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
	t.active = map[place]*activity{}
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

// openLogs sends all output to --logfile, with --logsplit that of each platform to a file of its own.
func (f *buildFlags) openLogs() error {
	if f.logfile == "" {
		if f.split {
			return errors.New("cannot use --logsplit without --logfile")
		}
		return nil
	}
	log, err := f.openLog(f.logfile)
	if err != nil {
		return err
	}
	f.o.Out, f.o.Err, f.o.Pull.Report = log, log, log
	if !f.split {
		return nil
	}
	f.o.Outs = map[builder.Platform]io.Writer{}
	for _, p := range f.o.Platforms {
		name := f.logfile + "_" + p.OrHost().OS + "_" + p.OrHost().Arch
		if slices.ContainsFunc(f.logs, func(l *os.File) bool { return l.Name() == name }) {
			name += "_" + p.Variant // two of one architecture
		}
		if f.o.Outs[p], err = f.openLog(name); err != nil {
			return errors.Join(err, f.closeLogs())
		}
	}
	return nil
}

func (f *buildFlags) openLog(name string) (*os.File, error) {
	log, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening log file: %w", err)
	}
	f.logs = append(f.logs, log)
	return log, log.Chmod(0o600)
}

func (f *buildFlags) closeLogs() error {
	var errs []error
	for _, l := range f.logs {
		errs = append(errs, l.Close())
	}
	f.logs = nil
	return errors.Join(errs...)
}

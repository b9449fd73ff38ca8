package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/imagebuildah"
)

// shownLines is how much of a failed step's output is shown.
const shownLines = 20

// A tty shows finished steps as lines that stay, and below them the steps that run, with time and last line of output.
type tty struct {
	to     io.Writer
	size   func() (width, height int) // of the terminal now; 0 where it does not know
	mu     sync.Mutex
	active map[place]*activity
	pulls  map[string]imagebuildah.Event // how far images are, by name, and what is pushed
	drawn  int                           // lines that the next drawing replaces
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

func newTTY(to io.Writer, size func() (width, height int)) *tty {
	t := &tty{to: to, size: size, active: map[place]*activity{}, pulls: map[string]imagebuildah.Event{}, ticker: time.NewTicker(200 * time.Millisecond), stop: make(chan struct{})}
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
	case "waiting":
		e.Text = "waits for " + e.Text
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
	case "explain", "usage":
		t.draw(label(e) + " " + visible(e.Text))
	case "pull", "push":
		t.pulls[e.Text] = e
		t.draw("")
	case "pushed":
		delete(t.pulls, e.Text)
		if e.Steps == 0 { // it had everything
			t.draw("")
			return
		}
		steps := "steps"
		if e.Steps == 1 {
			steps = "step"
		}
		t.draw(t.line("[push] "+e.Text, fmt.Sprintf("%d %s %.1fs", e.Steps, steps, e.Seconds)))
	case "pulled":
		delete(t.pulls, e.Text)
		t.draw(t.line("[pull] "+e.Text, fmt.Sprintf("%s %.1fs", units.HumanSize(float64(e.Bytes)), e.Seconds)))
	case "warning":
		t.draw(visible(e.Text))
	case "stage-done":
		delete(t.active, placeOf(e))
		t.draw("")
	}
}

// Write shows what others print, the log above all, above what runs.
func (t *tty) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draw(strings.TrimSuffix(string(text), "\n"))
	return len(text), nil
}

func (a *activity) print(text string) {
	lines := strings.Split(a.partial+text, "\n")
	a.partial = lines[len(lines)-1]
	a.lines = append(a.lines, lines[:len(lines)-1]...)
	a.lines = a.lines[max(0, len(a.lines)-shownLines):]
	a.partial = a.partial[max(0, len(a.partial)-4096):] // a line without end
}

// last is the line that the command wrote last.
func (a *activity) last() string {
	last := visible(a.partial)
	for i := len(a.lines) - 1; last == "" && i >= 0; i-- {
		last = visible(a.lines[i])
	}
	return last
}

// width is that of the terminal now, height how many lines can be drawn and drawn over.
func (t *tty) width() int  { w, _ := t.size(); return cmp.Or(w, 80) }
func (t *tty) height() int { _, h := t.size(); return max(1, cmp.Or(h, 24)-1) }

// line is a text with something at the right edge.
func (t *tty) line(text, right string) string {
	room := t.width() - len(right) - 2
	if room < 10 {
		return cut(text, t.width()-1)
	}
	text = cut(text, room)
	return text + strings.Repeat(" ", room-columns(text)+1) + right
}

// draw replaces what runs, with a finished line above it. The terminal breaks none of these lines, whatever it thinks of their width: it would
// not be known how many there are to replace.
func (t *tty) draw(finished string) {
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA\x1b[J", t.drawn) // what was typed is behind them
	}
	if finished != "" {
		b.WriteString(finished + "\n")
	}
	lines := t.running()
	if t.drawn = len(lines); t.drawn > 0 {
		b.WriteString("\x1b[?7l" + strings.Join(lines, "\n") + "\n\x1b[?7h")
	}
	_, _ = io.WriteString(t.to, b.String())
}

// running are the lines about what runs, no more than the terminal has.
func (t *tty) running() (lines []string) {
	for _, name := range slices.Sorted(maps.Keys(t.pulls)) {
		e := t.pulls[name]
		far := fmt.Sprintf("%.1fs", time.Since(e.Time).Seconds())
		if e.Total > 0 {
			far = units.HumanSize(float64(e.Bytes)) + "/" + units.HumanSize(float64(e.Total))
		}
		lines = append(lines, t.line("["+e.Kind+"] "+name, far))
	}
	lines = append(lines, t.steps()...)
	if room, all := t.height(), len(lines); all > room {
		lines = append(lines[:room-1], cut(fmt.Sprintf("… and %d more", all-room+1), t.width()-1))
	}
	return lines
}

// steps are the lines about steps: with output, if there is room for it.
func (t *tty) steps() (lines []string) {
	stages := slices.SortedFunc(maps.Keys(t.active), place.compare)
	for _, n := range stages {
		a := t.active[n]
		lines = append(lines, t.line(label(a.step)+" "+a.step.Text, fmt.Sprintf("%.1fs", time.Since(a.start).Seconds())))
		if last := a.last(); last != "" && 2*len(stages)+len(t.pulls) <= t.height() {
			lines = append(lines, cut("  | "+last, t.width()-1))
		}
	}
	return lines
}

func (t *tty) end(failed bool) {
	t.ticker.Stop()
	close(t.stop)
	t.over.Wait()
	running := t.active
	t.active, t.pulls = map[place]*activity{}, nil
	t.draw("")
	if !failed {
		return
	}
	for _, p := range slices.SortedFunc(maps.Keys(running), place.compare) {
		a := running[p]
		lines := a.lines
		if a.partial != "" {
			lines = append(lines, a.partial)
		}
		if len(lines) > 0 {
			fmt.Fprintf(t.to, "%s %s\n", label(a.step), cut(a.step.Text, t.width()-20))
			for _, l := range lines[max(0, len(lines)-shownLines):] {
				fmt.Fprintln(t.to, "  | "+cut(l, 4096))
			}
		}
	}
}

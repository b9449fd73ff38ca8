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
	"text/tabwriter"

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
		f.o.Out, f.o.Err, f.o.Pull.Report = nil, nil, nil
		y := newTTY(to, func() (width, height int) {
			if isFile {
				width, height, _ = term.GetSize(int(screen.Fd()))
			}
			return width, height
		})
		list = append(list, y)
		f.g.logTo(y, isFile && term.IsTerminal(int(screen.Fd())))
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
		f.g.logTo(f.g.err, false)
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

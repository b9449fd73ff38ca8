package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A cost is what one run took, summed over the process tree.
type cost struct {
	cpu, wall float64 // seconds
	memory    float64 // MB, the largest process
	written   float64 // MB handed to block devices
}

// run runs a shell script, repeated, and returns the cost of one time. "tool" is
// a function of the shell, so that nothing but the program itself is started. The
// kernel adds up what the shell and all its descendants used, as far as they were
// waited for.
func (t *tool) run(script string, repeat int) (cost, error) {
	place := "--root \"$STORE\" --runroot \"$RUNS/${STORE##*/}\""
	if t.daemons != nil {
		place = ""
	}
	script = fmt.Sprintf("tool() { %s %s \"$@\"; }\nfor round in $(seq %d); do\n%s\ndone", t.program, place, repeat, script)
	before, err := t.background()
	if err != nil {
		return cost{}, err
	}
	var output bytes.Buffer
	r, w, err := os.Pipe()
	if err != nil {
		return cost{}, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", launcher, script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = t.dir, t.env, &output, &output, []*os.File{w}
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start).Seconds()
	w.Close()
	if err != nil {
		return cost{}, fmt.Errorf("%w\n%s", err, output.String())
	}
	var peak int64
	if _, err := fmt.Fscan(r, &peak); err != nil {
		return cost{}, fmt.Errorf("reading the peak of memory: %w", err)
	}
	after, err := t.background()
	if err != nil {
		return cost{}, err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	seconds := func(v syscall.Timeval) float64 { return float64(v.Sec) + float64(v.Usec)/1e6 }
	times := float64(repeat)
	return cost{
		cpu:     (seconds(usage.Utime) + seconds(usage.Stime) + after - before) / times,
		wall:    wall / times,
		memory:  float64(peak) / 1024,
		written: float64(usage.Oublock) * 512 / 1e6 / times,
	}, nil
}

// background is the CPU time that the tool's daemons have used, in seconds.
func (t *tool) background() (float64, error) {
	if t.daemons == nil {
		return 0, nil
	}
	used, err := t.daemons.CPU()
	return used.Seconds(), err
}

// launcher is the first argument of a bench that only starts a script. The kernel counts the size of who starts a program as the program's own
// peak, and the bench itself is large.
const launcher = "start-script"

// launch runs a script and writes the peak memory of its largest process, in kB, to descriptor 3.
func launch(script string) int {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.NewFile(3, "peak"), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	return cmd.ProcessState.ExitCode()
}

// A result is a row with the smallest costs of both tools.
type result struct {
	row          row
	ours, theirs cost
	floor        cost    // of cp, where it was measured
	floorAim     float64 // 0 for none
	memoryAim    float64 // MB; 0 for none
	writtenAim   float64 // MB; 0 for none
}

// measure runs a row n times, the tools in turn, after one run to warm up.
func (r row) measure(n int, ours, theirs *tool) (result, error) {
	return prepared{row: r}.measure(n, ours, theirs)
}

func (p prepared) measure(n int, ours, theirs *tool) (result, error) {
	res := result{row: p.row, ours: worst(), theirs: worst()}
	for i := range n + 1 {
		a, err := p.once(ours, p.script)
		if err != nil {
			return res, fmt.Errorf("ours: %w", err)
		}
		b, err := p.once(theirs, p.script)
		if err != nil {
			return res, fmt.Errorf("peer: %w", err)
		}
		if i > 0 {
			res.ours, res.theirs = res.ours.least(a), res.theirs.least(b)
		}
	}
	return res, nil
}

// once is one run of a script, with what is before and after it.
func (p prepared) once(t *tool, script string) (cost, error) {
	if p.before != "" {
		if _, err := t.run(p.before, 1); err != nil {
			return cost{}, err
		}
	}
	c, err := t.run(script, p.repeat)
	if err != nil && t.again {
		c, err = t.run(script, p.repeat)
	}
	if err == nil && p.after != "" {
		_, err = t.run(p.after, 1)
	}
	return c, err
}

func worst() cost {
	inf := math.Inf(1)
	return cost{inf, inf, inf, inf}
}

// least takes the smaller of each number.
func (c cost) least(d cost) cost {
	return cost{min(c.cpu, d.cpu), min(c.wall, d.wall), min(c.memory, d.memory), min(c.written, d.written)}
}

// ratio is our CPU time to the peer's.
func (r result) ratio() float64 { return r.ours.cpu / r.theirs.cpu }

func (r result) missed() bool {
	return r.row.aim > 0 && r.ratio() > r.row.aim || r.floorAim > 0 && r.ours.cpu > r.floorAim*r.floor.cpu ||
		r.memoryAim > 0 && r.ours.memory > r.memoryAim || r.writtenAim > 0 && r.ours.written > r.writtenAim
}

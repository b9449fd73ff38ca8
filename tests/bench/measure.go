package main

import (
	"bytes"
	"encoding/json"
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
	var output, used bytes.Buffer
	cmd := exec.Command("/proc/self/exe", launcher, script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.dir, t.env, &used, &output
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%w\n%s", err, output.String())
	}
	var c launched
	if err := json.Unmarshal(used.Bytes(), &c); err != nil {
		return cost{}, fmt.Errorf("reading what a script used: %w", err)
	}
	after, err := t.background()
	if err != nil {
		return cost{}, err
	}
	times := float64(repeat)
	return cost{
		cpu:     (seconds(c.Usage.Utime) + seconds(c.Usage.Stime) + after - before) / times,
		wall:    c.Wall.Seconds() / times,
		memory:  float64(c.Usage.Maxrss) / 1024,
		written: float64(c.Usage.Oublock) * 512 / 1e6 / times,
	}, nil
}

func seconds(v syscall.Timeval) float64 { return float64(v.Sec) + float64(v.Usec)/1e6 }

// background is the CPU time that the tool's daemons have used, in seconds.
func (t *tool) background() (float64, error) {
	if t.daemons == nil {
		return 0, nil
	}
	used, err := t.daemons.CPU()
	return used.Seconds(), err
}

// launcher is the first argument of a bench that only starts a script: the kernel counts the size of who starts a program as the program's own
// peak, and the bench itself is large. What the launcher itself costs is not counted.
const launcher = "start-script"

// launched is what a script and all its descendants used.
type launched struct {
	Usage *syscall.Rusage
	Wall  time.Duration
}

// launch runs a script, whose output all goes to standard error, and prints what it used.
func launch(script string) int {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	start := time.Now()
	err := cmd.Run()
	used := launched{Wall: time.Since(start)}
	if err == nil {
		used.Usage = cmd.ProcessState.SysUsage().(*syscall.Rusage)
		err = json.NewEncoder(os.Stdout).Encode(used)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
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

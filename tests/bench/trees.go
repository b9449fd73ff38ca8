package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A heavy row copies or commits a large source, made once and shared by both tools.
// The floor is what the same costs with cp, in the same run.
type heavy struct {
	prepared
	source   string  // makes it; $SOURCE is the directory for it
	floor    string  // empty for none
	floorAim float64 // the largest CPU ratio, ours to the floor's; 0 for none
	without  bool    // the floor's time is none of the tools': it is taken off
	memory   float64 // the most that ours may use, in MB
	written  float64 // the most that ours may write, in MB; 0 for no limit
}

// heavies returns the rows of copying, with the aims of its issue.
func heavies() []heavy {
	const from, rm = "tool from scratch >ctr", "tool rm $(cat ctr) >/dev/null"
	return []heavy{
		{prepared: prepared{row{"copy of 50,000 files, 400 MB", 1, "tool copy -q $(cat ctr) $SOURCE/many /many", 0.35}, from, rm},
			source: "for d in $(seq 250); do mkdir -p many/$d; (cd many/$d; head -c 1638400 /dev/urandom | split -b 8192 -a 3 - f); done",
			floor:  "cp -a $SOURCE/many copied", floorAim: 1.5, memory: 100},
		{prepared: prepared{row{"copy of a file of 1 GiB", 1, "tool copy -q $(cat ctr) $SOURCE/big /big", 0.3}, from, rm},
			source: "head -c 1073741824 /dev/urandom >big", floor: "cp -a $SOURCE/big copied", memory: 100},
		{prepared: prepared{row{"200,000 files, 99% of them ignored", 1, "tool copy -q --contextdir $SOURCE/ctx $(cat ctr) $SOURCE/ctx /ctx", 0.3}, from, rm},
			source: "mkdir -p ctx/kept; echo ignored >ctx/.dockerignore; (cd ctx/kept; seq 2000 | xargs touch)\n" +
				"for d in $(seq 198); do mkdir -p ctx/ignored/$d; (cd ctx/ignored/$d; seq 1000 | xargs touch); done",
			floor: "cp -a $SOURCE/ctx/kept copied", memory: 100},
		committed("commit --rm of a layer of 1 GiB", gibibyte, "--rm", 0.25, 0.02*1074),
		committed("commit of a layer of 1 GiB, which the container keeps", gibibyte, "", 0.25, 1.1*1074),
		committed("commit --rm of 50,000 small files", "for d in $(seq 250); do mkdir -p tree/$d; (cd tree/$d; seq 200 | split -l 1 -a 3 - f); done", "--rm", 0.08, 0),
		{prepared: prepared{row{"commit --rm, push and pull of a layer of 4 GiB", 1, "tool commit -q --rm $(cat ctr) four >/dev/null; tool push -q --tls-verify=false four docker://$REGISTRY/four:1\n" +
			"(STORE=$STORE-pull; tool pull -q --tls-verify=false docker://$REGISTRY/four:1 >/dev/null; tool rmi -a -f >/dev/null)", 0},
			"c=$(tool from scratch); truncate -s 4G $(tool mount $c)/four; tool umount $c >/dev/null; echo $c >ctr", "tool rmi four >/dev/null"},
			source: ":", memory: 64},
		{prepared: prepared{row{"rebuild of a changed C project, all but the compiler", 1, "tool bud --layers -q -v /usr:/usr:ro -t project $SOURCE/project >/dev/null", 0.2},
			"echo \"int changed = 1$(date +%N);\" >$SOURCE/project/changed.c", ":"},
			source: project, floor: "gcc -O1 -o compiled $SOURCE/project/*.c", without: true, memory: 64},
	}
}

// project makes twenty files in C and a Dockerfile that compiles them with the machine's compiler.
const project = `mkdir project; cd project
for i in $(seq 20); do { echo '#include <stdio.h>'; echo '#include <stdlib.h>'; for k in $(seq 20); do echo "int f_${i}_$k(int n) { char b[64]; snprintf(b, sizeof b, \"%d\", n * $k); return atoi(b); }"; done; } >f$i.c; done
echo 'int main(void) { return 0; }' >main.c
printf 'FROM base AS compile\nRUN mkdir /out\nCOPY *.c /src/\nRUN gcc -O1 -o /out/app /src/*.c\nFROM base\nCOPY --from=compile /out/app /app\nRUN /app\nCMD /app\n' >Dockerfile`

// gibibyte makes a file of a gibibyte that compresses as real ones do.
const gibibyte = "for i in $(seq 16); do cat ../ours/mixed; done >tree"

// committed commits a container that has a source that is called tree. written is the most that ours may write, in MB.
func committed(name, source, flags string, aim, written float64) heavy {
	const from, rm = "c=$(tool from base); cp -a $SOURCE/tree $(tool mount $c)/tree; tool umount $c >/dev/null; sync; echo $c >ctr", "tool rm -a >/dev/null; tool rmi made >/dev/null"
	return heavy{prepared: prepared{row{name, 1, "tool commit -q " + flags + " $(cat ctr) made >/dev/null", aim}, from, rm},
		source: source, floor: "cp -a $SOURCE/tree copied", memory: 64, written: written}
}

// measure makes the source, runs the row n times, the tools and cp in turn, and removes the source.
func (h heavy) measure(n int, ours, theirs *tool) (result, error) {
	res := result{row: h.row, ours: worst(), theirs: worst(), floor: worst(), floorAim: h.floorAim, memoryAim: h.memory, writtenAim: h.written}
	dir := filepath.Join(filepath.Dir(ours.dir), "source")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return res, err
	}
	defer os.RemoveAll(dir)
	script := func(text string) string { return "SOURCE=" + dir + "\n" + text }
	h.before = script(h.before)
	if _, err := ours.run(script("cd $SOURCE\n"+h.source), 1); err != nil {
		return res, err
	}
	for i := range n + 1 {
		costs, err := h.round(script, ours, theirs)
		if err != nil {
			return res, err
		}
		if i > 0 {
			res.ours, res.theirs, res.floor = res.ours.least(costs[0]), res.theirs.least(costs[1]), res.floor.least(costs[2])
		}
	}
	if h.without {
		res.ours.cpu, res.theirs.cpu, res.floor.cpu = res.ours.cpu-res.floor.cpu, res.theirs.cpu-res.floor.cpu, 0
	}
	return res, nil
}

// round measures both tools and cp, and removes what they have made when all are done: ext4 without a journal passes by the inodes that were
// deleted in the last minutes whenever a file is made, and who comes first after a large removal would pay for it. On such a machine the
// rounds still disturb each other: name a directory on another file system with TMPDIR.
func (h heavy) round(script func(string) string, ours, theirs *tool) (costs [3]cost, err error) {
	for k, t := range []*tool{ours, theirs} {
		if _, err = t.run(h.before, 1); err == nil {
			costs[k], err = t.run(script(h.script), h.repeat)
		}
		if err != nil {
			return costs, fmt.Errorf("%s: %w", filepath.Base(t.program), err)
		}
	}
	if h.floor != "" {
		if costs[2], err = ours.run(script(h.floor), 1); err != nil {
			return costs, err
		}
	}
	for _, t := range []*tool{ours, theirs} {
		if _, err := t.run(h.after, 1); err != nil {
			return costs, fmt.Errorf("%s: %w", filepath.Base(t.program), err)
		}
	}
	return costs, os.RemoveAll(filepath.Join(ours.dir, "copied"))
}

// floorText says how a row compares with cp and keeps within its limits, empty where neither was looked at.
func floorText(r result) string {
	if r.floor.cpu == 0 && r.memoryAim == 0 {
		return ""
	}
	var verdicts []string
	if r.floor.cpu > 0 {
		verdicts = append(verdicts, fmt.Sprintf("cp -a %.1f ms, ratio %.2f", r.floor.cpu*1e3, r.ours.cpu/r.floor.cpu))
	}
	if r.floorAim > 0 {
		verdicts = append(verdicts, fmt.Sprintf("aim %.2f", r.floorAim))
	}
	return "  (" + strings.Join(append(verdicts, limit("memory", r.ours.memory, r.memoryAim), limit("written", r.ours.written, r.writtenAim)), ", ") + ")"
}

// limit is a number of MB and what it may be at most, 0 for no limit.
func limit(what string, mb, aim float64) string {
	if aim == 0 {
		return fmt.Sprintf("%s %.1f MB", what, mb)
	}
	return fmt.Sprintf("%s %.1f MB of at most %.1f", what, mb, aim)
}

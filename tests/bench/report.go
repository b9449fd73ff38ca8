package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// String is the line that is printed while measuring.
func (r result) String() string {
	verdict := ""
	switch {
	case r.missed():
		verdict = fmt.Sprintf("  MISSED, aim %.2f", r.row.aim)
	case r.row.aim > 0:
		verdict = fmt.Sprintf("  aim %.2f", r.row.aim)
	}
	return fmt.Sprintf("%-30s cpu %7.1f ms, peer %7.1f ms, ratio %.2f%s", r.row.name, r.ours.cpu*1e3, r.theirs.cpu*1e3, r.ratio(), verdict)
}

// document is the text of docs/benchmarks.md.
func document(results []result, n int, peer string) string {
	var b strings.Builder
	version, err := exec.Command(peer, "--version").Output()
	if err != nil {
		version = []byte("buildah")
	}
	fmt.Fprintf(&b, `# Benchmarks

Written by %cmake bench%c; tests/bench says how it measures. The peer is Debian's %s, run beside ours
on the same machine (%d CPUs, Linux %s) with the same base image and runs in turn. Numbers are
the smallest of %d runs: CPU seconds (user and system) of the whole process tree, wall time, memory of the largest
process, bytes written to disk. Ratios are ours to the peer's; below 1 is better.

| operation | CPU ms | peer | ratio | aim | wall ms | peer | memory MB | peer | written MB | peer |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
`, '`', '`', strings.TrimSpace(string(version)), runtime.NumCPU(), kernel(), n)
	for _, r := range results {
		aim := ""
		if r.row.aim > 0 {
			aim = fmt.Sprintf("%.2f", r.row.aim)
		}
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | **%.2f** | %s | %.0f | %.0f | %.0f | %.0f | %.1f | %.1f |\n", r.row.name,
			r.ours.cpu*1e3, r.theirs.cpu*1e3, r.ratio(), aim, r.ours.wall*1e3, r.theirs.wall*1e3,
			r.ours.memory, r.theirs.memory, r.ours.written, r.theirs.written)
	}
	for _, r := range results {
		if text := floorText(r); text != "" {
			fmt.Fprintf(&b, "\n%s: ours %.1f ms%s.", r.row.name, r.ours.cpu*1e3, text)
		}
	}
	b.WriteString("\nThe script of 14 commands is: from, copy, config five times, run five times, commit, rm. The peer runs commands\n" +
		"through runc, its default; ours through the built-in runner, its default.\n" +
		"In rows that say so the peer is `docker build` with BuildKit: its CPU time is that of the client, dockerd, containerd and all they started.\n" +
		"Where many files are made, ext4 without a journal is no ground to measure on: it passes by what was deleted before. TMPDIR names another.\n")
	return b.String()
}

// kernel returns the kernel's version without what distributions append.
func kernel() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown"
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(release)), "-")
	return version
}

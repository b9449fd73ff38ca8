package conformance

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/tests/harness"
)

// TestGraph builds files of stages that use each other at random: however many commands run at a time, the image is the same, lines have
// the same order, and every step is found again, as the keys do not depend on how far other stages were.
func TestGraph(t *testing.T) {
	harness.Need(t, "root")
	l := newLab(t, nil, slipway{})
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(l.store.Dir, fmt.Sprint("graph", seed))
			text := stages(rand.New(rand.NewPCG(seed, 0)), seed)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, platforms := range []string{"linux/amd64", "linux/amd64,linux/amd64/v2"} {
				build := func(flags ...string) (lines, digests string) {
					return graphBuild(l.store.With(t), slices.Concat(flags, []string{"--platform", platforms, "--manifest", fmt.Sprintf("graph%d.%d", seed, len(platforms)), dir}))
				}
				lines, digests := build("--no-cache", "--jobs", "1")
				if found, d := build("--jobs", "3"); d != digests || strings.Count(found, "Using cache") != len(made.FindAllString(lines, -1)) {
					t.Errorf("%s again: %s\n%s\nat first: %s\n%s\n%s", platforms, d, found, digests, lines, text)
				}
				for _, jobs := range []string{"3", "0"} {
					if same, d := build("--no-cache", "--jobs", jobs); d != digests || made.ReplaceAllString(same, "") != made.ReplaceAllString(lines, "") {
						t.Errorf("%s with --jobs %s: %s\n%s\nwith --jobs 1: %s\n%s\n%s", platforms, jobs, d, same, digests, lines, text)
					}
				}
			}
		})
	}
}

// made is the line about a layer that was made.
var made = regexp.MustCompile(`(?m)^--> [0-9a-f]{12}$`)

// graphBuild returns what a build prints of its steps, and the digests in the list that it is told to make.
func graphBuild(s *harness.Store, args []string) (lines, digests string) {
	s.T.Helper()
	list := args[len(args)-2]
	_ = s.Command(s.Bin, "manifest", "rm", list).Run() // of the build before, if any
	lines = s.Run(slices.Concat([]string{s.Bin, "build", "--pull=never", "--timestamp", "0"}, args)...)
	lines, _, _ = strings.Cut(lines, "COMMIT")
	found := regexp.MustCompile(`sha256:[0-9a-f]{64}`).FindAllString(s.Run(s.Bin, "manifest", "inspect", list), -1)
	if len(found) == 0 {
		s.T.Fatalf("%s has no images", list)
	}
	return lines, strings.Join(found, " ")
}

// stages writes a build file. What a RUN prints and how long it takes are at random too.
func stages(r *rand.Rand, seed uint64) string {
	var b strings.Builder
	n := 3 + r.IntN(5)
	for i := range n {
		base := "base"
		if i > 0 && r.IntN(3) == 0 {
			base = fmt.Sprint("s", r.IntN(i))
		}
		fmt.Fprintf(&b, "FROM %s%s AS s%d\n", []string{"", "--platform=$BUILDPLATFORM "}[r.IntN(2)], base, i)
		if r.IntN(3) == 0 {
			b.WriteString("ARG TARGETVARIANT\n")
		}
		for k := range 1 + r.IntN(4) {
			from := 0
			if i > 0 {
				from = r.IntN(i)
			}
			switch kind := r.IntN(8); {
			case kind < 3 || i == 0:
				fmt.Fprintf(&b, "RUN sleep 0.0%d; echo %d.%d.%d | tee -a /f%d\n", r.IntN(10), seed, i, k, i)
			case kind == 3:
				fmt.Fprintf(&b, "ENV K%d=%d.%d\n", k, seed, i)
			case kind == 4:
				fmt.Fprintf(&b, "RUN --mount=type=bind,from=s%d,target=/m ls /m >/l.%d.%d.%d\n", from, seed, i, k)
			default:
				fmt.Fprintf(&b, "COPY %s--from=s%d /bin/sh /c.%d.%d.%d\n", []string{"", "--link "}[r.IntN(2)], from, seed, i, k)
			}
		}
	}
	return b.String()
}

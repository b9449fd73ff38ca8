package conformance

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-build/slipway/tests/harness"
)

var (
	cacheRounds = flag.Int("cacherounds", 40, "how many changes TestCacheRandom makes")
	cacheSeed   = flag.Uint64("cacheseed", 2, "which changes TestCacheRandom makes")
)

// TestCacheRandom makes random changes to Dockerfiles, contexts and flags, and builds after each: what is found in the cache must be what is made
// without it, bit for bit, as all times are forced; and a build of which nothing but times has changed finds everything.
func TestCacheRandom(t *testing.T) {
	harness.Need(t, "root")
	t.Parallel()
	l := newLab(t, nil, slipway{})
	c := &changing{r: rand.New(rand.NewPCG(*cacheSeed, 0)), dir: filepath.Join(l.store.Dir, "contexts", "main"), named: filepath.Join(l.store.Dir, "contexts", "named")}
	for _, dir := range []string{c.dir, c.named} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			c.file(dir)
		}
	}
	var found, made, failed int
	for round := range *cacheRounds {
		c.change()
		if err := os.WriteFile(c.dir+".df", []byte(c.text()), 0o644); err != nil {
			t.Fatal(err)
		}
		cached, fresh := c.build(l, "--explain-cache"), c.build(l, "--no-cache")
		c.touch()
		again := c.build(l, "--explain-cache")
		found, made = found+strings.Count(cached, "cache hit"), made+strings.Count(cached, "cache miss")
		if result(cached) == "" { // it would not say much the next time
			failed, c.stages = failed+1, nil
		}
		if result(cached) != result(fresh) || result(again) != result(cached) {
			t.Fatalf("round %d: with the cache, without, and again:\n%s\n%s\n%s", round, cached, fresh, again)
		}
		if result(cached) != "" && strings.Contains(again, "cache miss") {
			t.Errorf("round %d: with other times not everything is found:\n%s", round, again)
		}
	}
	t.Logf("%d steps were found, %d made; %d of %d builds failed", found, made, failed, *cacheRounds)
	if found == 0 || made == 0 || failed > *cacheRounds/2 {
		t.Error("this says nothing")
	}
}

// result is the ID of the image that was built, empty for none.
func result(out string) string {
	return regexp.MustCompile(`(?m)^[0-9a-f]{64}$`).FindString(out)
}

// changing is a build that is changed all the time.
type changing struct {
	r          *rand.Rand
	dir, named string
	stages     [][]string
	flags      []string
}

func (c *changing) of(words ...string) string { return words[c.r.IntN(len(words))] }

func (c *changing) text() string {
	text := ""
	for n, steps := range c.stages {
		text += fmt.Sprintf("FROM %s AS s%d\n%s\n", []string{"base", "base", "s0"}[n], n, strings.Join(steps, "\n"))
	}
	return text
}

func (c *changing) build(l *lab, more ...string) string {
	args := slices.Concat([]string{l.store.Bin, "build", "--timestamp", "0", "--build-context", "named=" + c.named, "-f", c.dir + ".df"}, c.flags, more)
	out, _ := l.store.Command(append(args, c.dir)...).CombinedOutput() // that it fails is a result too
	return string(out)
}

// change changes one or two things.
func (c *changing) change() {
	for range 1 + c.r.IntN(2) {
		switch n := c.r.IntN(10); {
		case len(c.stages) == 0 || n == 0:
			c.stages = nil
			for stage := range 2 + c.r.IntN(2) {
				var steps []string
				for range 2 + c.r.IntN(4) {
					steps = append(steps, c.step(stage))
				}
				c.stages = append(c.stages, steps)
			}
		case n < 4:
			stage := c.r.IntN(len(c.stages))
			c.stages[stage][c.r.IntN(len(c.stages[stage]))] = c.step(stage)
		case n == 4:
			c.flags = strings.Fields(c.of("", "", "--build-arg A=1", "--build-arg A=2", "--network none", "--cap-drop CHOWN", "--env Q=1", "--jobs 1", "--format docker", "--label l=1"))
		case n == 5:
			c.file(c.named)
		default:
			c.file(c.dir)
		}
	}
}

// step is some instruction of a stage: what RUN makes tells what it could see.
func (c *changing) step(stage int) string {
	from := "base"
	if stage > 0 {
		from = c.of("s0", "s0", "named")
	}
	what := c.of("a*", "b*", "c*", "d*", "*", "?", "c*/*", ".", "./", "d/../*")
	to := c.of("/p", "/p/", "/q/r/", "rel/", "/tmp/")
	flags := c.of("", "", "", "--chown=7:8 ", "--chmod=600 ", "--chmod=u+x ", "--exclude=a ", "--parents ", "--link ")
	see := "{ find /m /p /q -exec stat -c '%n %f %u:%g %h' {} +; find /m /p -type f -exec sha256sum {} +; } 2>&1 | sort >/tmp/seen"
	switch c.r.IntN(12) {
	case 0, 1, 2:
		return "COPY " + flags + what + " " + to
	case 3:
		return "ADD " + strings.Replace(flags, "--parents", "--link", 1) + what + " " + to
	case 4:
		return "COPY " + flags + "--from=" + from + " " + c.of("/tmp*", "/etc/*", "a*", ".") + " " + to
	case 5:
		return "COPY <<E " + to + "\nx$A\nE"
	case 6:
		return "RUN --mount=target=/m,source=" + c.of(".", ".", "c") + " " + see
	case 7:
		return "RUN --mount=target=/m,from=" + from + c.of("", "", ",source=/tmp") + " " + see
	case 8:
		return "RUN { env | sort; id; pwd; } >/tmp/env" + c.of("1", "2")
	case 9:
		return c.of("WORKDIR /w", "WORKDIR sub", "USER 7", "USER root", "ENV A=1", "ENV A=2", "ARG A", "ARG A=5", "LABEL x=1", "CMD x")
	case 10:
		return "RUN --mount=type=tmpfs,target=/m" + c.of("", ",tmpfs-mode=700") + " stat -c %a /m >/tmp/mode"
	}
	return "RUN " + see
}

// file changes some file of a directory.
func (c *changing) file(dir string) {
	at := filepath.Join(dir, c.of("", "", "c", "d"), c.of("a", "b", "c", "d"))
	_ = os.MkdirAll(filepath.Dir(at), 0o755)
	switch c.r.IntN(9) {
	case 0:
		_ = os.RemoveAll(at)
	case 1:
		_ = os.RemoveAll(at)
		_ = os.Symlink(c.of("a", "../b", "/c", "nowhere"), at)
	case 2:
		_ = os.RemoveAll(at)
		_ = os.Link(filepath.Join(dir, c.of("a", "b")), at)
	case 3:
		_ = os.Chmod(at, os.FileMode(0o600+c.r.IntN(8)))
	case 4:
		_ = os.Chmod(at, 0o755|os.ModeSetuid)
	case 5:
		_ = os.Lchown(at, 7*c.r.IntN(2), 8)
	case 6:
		_ = syscall.Setxattr(at, "user.k", []byte(c.of("1", "2")), 0)
	case 7:
		_ = os.WriteFile(filepath.Join(dir, ".dockerignore"), []byte(c.of("", "a\n", "**/b\n", "*\n!c\n", "c\n")), 0o644)
	default:
		_ = os.RemoveAll(at)
		_ = os.WriteFile(at, []byte(c.of("1", "2")), 0o644)
	}
}

// touch gives all files of the contexts other times, and nothing else.
func (c *changing) touch() {
	for _, dir := range []string{c.dir, c.named} {
		_ = filepath.WalkDir(dir, func(name string, _ os.DirEntry, _ error) error {
			_ = os.Chtimes(name, time.Time{}, time.Unix(c.r.Int64N(1e9), 0)) // that of what a link names; one that names nothing keeps its own
			return nil
		})
	}
}

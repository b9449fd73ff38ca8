package interop

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containers/storage"
	_ "github.com/containers/storage/drivers/register" // the drivers that Check opens
	"github.com/slipway-build/slipway/tests/harness"
)

// kills returns how often TestKilled kills: few for a quick run, 100 where
// everything is required; SLIPWAY_TEST_KILLS says another number.
func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("SLIPWAY_TEST_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if harness.Required() {
		return 100
	}
	return 20
}

// TestKilled kills a script, a build and a pull with SIGKILL at random moments.
// After each the store is sound and the next command works; at the end nothing is
// left (containers.md 18.11, decisions.md 5.2).
func TestKilled(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	s := shared.NewStore(t)
	shared.Base(s, "base")
	s.Slipway("push", "-q", "base", "oci:"+s.Dir+"/pulled:v1")
	write(t, s, "ctx/Dockerfile", "FROM base AS one\nCOPY file /file\nRUN cat /file >/made\nFROM base\nCOPY --from=one /made /got\nLABEL a=b\n")
	write(t, s, "ctx/file", "content")
	write(t, s, "script.sh", "set -e\nc=$(slipway from base)\nslipway copy -q $c ctx/file /file\nslipway run $c -- cat /file\nslipway commit -q --rm $c made\n")
	jobs := [][]string{
		{"sh", "script.sh"},
		{"slipway", "bud", "-q", "--no-cache", "-t", "built", "ctx"},
		{"slipway", "pull", "-q", "oci:" + s.Dir + "/pulled:v1"},
	}
	for i := range kills(t) {
		job := jobs[i%len(jobs)]
		if i%len(jobs) == 2 {
			s.Try(s.Bin, "prune", "-a") // so that the pull has something to do; in use is fine
		}
		killAfter(t, s, job, time.Duration(rand.IntN(400))*time.Millisecond)
		check(t, s)
		shared.Base(s, "base")
		c := s.Slipway("from", "base")
		s.Slipway("run", c, "--", "true")
		s.Slipway("rm", c)
	}
	s.Slipway("bud", "-q", "-t", "built", "ctx")
	s.Slipway("rm", "-a")
	check(t, s)
	left, err := filepath.Glob(filepath.Join(s.Dir, "tmp", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v %v", left, err)
	}
}

// killAfter starts a job in a process group of its own and kills all of it.
func killAfter(t *testing.T, s *harness.Store, argv []string, d time.Duration) {
	t.Helper()
	if argv[0] == "slipway" {
		argv = append([]string{s.Bin}, argv[1:]...)
	}
	cmd := s.Command(argv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	// It may have ended before; then there is nothing to kill.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
}

// check runs storage's own check over the whole store: it reads every layer and
// compares it with its digest.
func check(t *testing.T, s *harness.Store) {
	t.Helper()
	st, err := storage.GetStore(storage.StoreOptions{GraphRoot: s.Root, RunRoot: s.RunRoot, GraphDriverName: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	report, err := st.Check(storage.CheckEverything())
	if err != nil {
		t.Fatal(err)
	}
	for layer, errs := range report.Layers {
		t.Errorf("layer %s: %v", layer, errs)
	}
	for image, errs := range report.Images {
		t.Errorf("image %s: %v", image, errs)
	}
	for container, errs := range report.Containers {
		t.Errorf("container %s: %v", container, errs)
	}
}

// write makes a file below the store's directory.
func write(t *testing.T, s *harness.Store, name, text string) {
	t.Helper()
	name = filepath.Join(s.Dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

package interop

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containers/storage"
	_ "github.com/containers/storage/drivers/register" // the drivers that Check opens

	"github.com/slipway-build/slipway/internal/regtest"
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

// A victim is a command that is killed, and what makes work for it.
type victim struct {
	before []string
	argv   []string
}

// TestKilled kills commands with SIGKILL at random moments. After each the store is sound, the command itself succeeds and the next one
// works; at the end nothing is left (containers.md 18.11, decisions.md 5.2).
func TestKilled(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	s := shared.NewStore(t)
	shared.Base(s, "base")
	registry := regtest.Start(regtest.Options{})
	defer registry.Close()
	jobs := victims(t, s, registry.Host())
	for i := range kills(t) {
		job := jobs[i%len(jobs)]
		if job.before != nil {
			_ = program(s, job.before).Run() // there may be nothing to do, or something in use
		}
		killAfter(t, s, job.argv, time.Duration(rand.IntN(400))*time.Millisecond)
		s.Slipway("images") // the very next command works
		check(t, s)
		shared.Base(s, "base")
		if out, err := program(s, job.argv).CombinedOutput(); err != nil {
			t.Errorf("%q after it was killed: %v\n%s", job.argv, err, out)
		}
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
	s.Slipway("prune") // what killed pulls have got stays for the next until then
	for _, pattern := range []string{s.Root + "/slipway/live/*", s.Root + "/overlay/staging/*/dir", s.Dir + "/slipway-tmp-*"} {
		left, err := filepath.Glob(pattern)
		if err != nil || len(left) > 0 {
			t.Errorf("left of operations: %v %v", left, err)
		}
	}
	s.Slipway("prune", "-a", "-f")
	if left := layersOf(t, s); len(left) > 0 {
		t.Errorf("layers that nothing removes: %v", left)
	}
}

// victims returns the jobs: what makes images, and each way that images come and go.
func victims(t *testing.T, s *harness.Store, registry string) []victim {
	t.Helper()
	s.Slipway("push", "-q", "base", "oci:"+s.Dir+"/pulled:v1")
	s.Slipway("push", "-q", "--tls-verify=false", "base", "docker://"+registry+"/pulled:v1")
	s.Slipway("save", "-q", "-o", s.Dir+"/loaded.tar", "base")
	s.Slipway("from", "--name", "changed", "scratch")
	write(t, s, "ctx/Dockerfile", "FROM base AS one\nCOPY file /file\nRUN cat /file >/made\nFROM base\nCOPY --from=one /made /got\nLABEL a=b\n")
	write(t, s, "ctx/file", "content")
	s.Slipway("copy", "-q", "changed", s.Dir+"/ctx/file", "/file")
	write(t, s, "script.sh", "set -e\nc=$(slipway from base)\nslipway copy -q $c ctx/file /file\nslipway run $c -- cat /file\nslipway commit -q --rm $c made\n")
	emptied := []string{"slipway", "prune", "-a"} // so that a pull has something to do
	removed := []string{"sh", "-c", "rm -f saved.tar docker.tar"}
	return []victim{
		{nil, []string{"sh", "script.sh"}},
		{nil, []string{"slipway", "bud", "-q", "--no-cache", "-t", "built", "ctx"}},
		{emptied, []string{"slipway", "pull", "-q", "oci:" + s.Dir + "/pulled:v1"}},
		{emptied, []string{"slipway", "pull", "-q", "--tls-verify=false", registry + "/pulled:v1"}},
		{nil, []string{"slipway", "commit", "-q", "changed", "again"}},
		{nil, []string{"slipway", "commit", "-q", "changed", "oci-archive:" + s.Dir + "/committed.tar"}},
		{nil, []string{"slipway", "push", "-q", "--tls-verify=false", "--force-compression", "--compression-format", "zstd:chunked", "base", "docker://" + registry + "/pushed:v1"}},
		{nil, []string{"slipway", "push", "-q", "base", "oci-archive:" + s.Dir + "/pushed.tar"}},
		{[]string{"slipway", "manifest", "create", "--tls-verify=false", "list", "docker://" + registry + "/pulled:v1"},
			[]string{"slipway", "manifest", "push", "-q", "--all", "--tls-verify=false", "list", "docker://" + registry + "/list:v1"}},
		{removed, []string{"sh", "-c", "test -e saved.tar || slipway save -q -o saved.tar base; tar -tf saved.tar"}}, // what is there is whole
		{removed, []string{"sh", "-c", "test -e docker.tar || slipway push -q base docker-archive:docker.tar; tar -tf docker.tar"}},
		{emptied, []string{"slipway", "load", "-q", "-i", s.Dir + "/loaded.tar"}},
	}
}

// program is the command that an argument vector names.
func program(s *harness.Store, argv []string) *exec.Cmd {
	if argv[0] == "slipway" {
		argv = append([]string{s.Bin}, argv[1:]...)
	}
	return s.Command(argv...)
}

// killAfter starts a job in a process group of its own and kills all of it.
func killAfter(t *testing.T, s *harness.Store, argv []string, d time.Duration) {
	t.Helper()
	cmd := program(s, argv)
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

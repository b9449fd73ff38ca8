// Command bench measures Slipway beside Debian's buildah, some builds beside docker's
// BuildKit where that is installed, in the same run and on the same machine, and prints for each operation ours, the peer's and the ratio.
//
//	go run ./tests/bench [-n 5] [-only text] [-check] [-write docs/benchmarks.md]
//
// Both tools get a store of their own with the same image, and runs alternate, so
// that what disturbs one disturbs the other. Directories of running things are on a tmpfs, as on an installed system. A number is the smallest of n runs:
// noise only ever adds. -check fails when a ratio of rows.go is missed.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/internal/tree"
	"github.com/slipway-build/slipway/tests/harness"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == launcher {
		os.Exit(launch(os.Args[2]))
	}
	n := flag.Int("n", 5, "runs of each operation")
	only := flag.String("only", "", "measure only operations whose name contains this `text`")
	check := flag.Bool("check", false, "fail when an aim is missed")
	file := flag.String("write", "", "write the tables to this `file` too")
	flag.Parse()
	if err := run(*n, *check, *file, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures every row and reports.
func run(n int, check bool, file, only string) error {
	peer, err := exec.LookPath("buildah")
	if err != nil {
		if check || harness.Required() {
			return fmt.Errorf("the peer is missing: %w", err)
		}
		fmt.Println("SKIP: buildah is not installed; there is nothing to compare with")
		return nil
	}
	h, err := harness.New()
	if err != nil {
		return err
	}
	defer h.Close()
	ourRegistry, theirRegistry := regtest.Start(regtest.Options{}), regtest.Start(regtest.Options{})
	defer ourRegistry.Close()
	defer theirRegistry.Close()
	runs, err := harness.RunDir(filepath.Join(h.Dir, "runs"))
	if err != nil {
		return err
	}
	defer os.RemoveAll(runs)
	ours, err := prepare(filepath.Join(h.Dir, "ours"), runs, h.Bin, h.Bin, ourRegistry.Host())
	if err != nil {
		return err
	}
	theirs, err := prepare(filepath.Join(h.Dir, "peer"), runs, peer, h.Bin, theirRegistry.Host())
	if err != nil {
		return err
	}
	var results []result
	one := func(o operation) error {
		if !strings.Contains(o.title(), only) {
			return nil
		}
		res, err := o.measure(n, ours, theirs)
		if err != nil {
			return fmt.Errorf("%s: %w", o.title(), err)
		}
		fmt.Println(res.String() + floorText(res))
		results = append(results, res)
		return write(file, results, n, peer) // also for who has no time for the rest
	}
	for _, o := range operations() {
		if err := one(o); err != nil {
			return err
		}
	}
	more, err := measureBuildKit(selected(buildKitRows(), only), n, ours, h)
	if err != nil {
		return err
	}
	results = append(results, more...)
	more, err = measureOneID(selected(oneIDRows(), only), n, h)
	if err != nil {
		return err
	}
	results = append(results, more...)
	if err := one(crowded()); err != nil {
		return err
	}
	if err := write(file, results, n, peer); err != nil {
		return err
	}
	return missed(results, check)
}

// write puts the tables into a file, if one is named.
func write(file string, results []result, n int, peer string) error {
	if file == "" {
		return nil
	}
	return os.WriteFile(file, []byte(document(results, n, peer)), 0o644)
}

// An operation can be measured.
type operation interface {
	title() string
	measure(n int, ours, theirs *tool) (result, error)
}

func (r row) title() string { return r.name }

func operations() []operation {
	var list []operation
	for _, r := range rows() {
		list = append(list, r)
	}
	for _, p := range runs() {
		list = append(list, p)
	}
	for _, b := range bares() {
		list = append(list, b)
	}
	for _, h := range heavies() {
		list = append(list, h)
	}
	return list
}

// missed returns an error that names the aims that were not reached.
func missed(results []result, check bool) error {
	var errs []error
	for _, r := range results {
		if r.missed() {
			errs = append(errs, fmt.Errorf("%s: CPU ratio %.2f, aim %.2f%s", r.row.name, r.ratio(), r.row.aim, floorText(r)))
		}
	}
	if !check {
		return nil
	}
	return errors.Join(errs...)
}

// A tool is one of the two programs with its environment and directory.
type tool struct {
	program string
	dir     string
	env     []string
	daemons *harness.Docker // that do the work, nil for a program that does it itself
	again   bool            // what fails may be tried again: Debian's buildah cannot always copy itself to run by chroot
}

// prepare makes a tool's directory, an empty store, and one with the images "base" and "big": base and the file "mixed".
func prepare(dir, runs, program, slipway, registry string) (*tool, error) {
	t := &tool{program: program, dir: dir, again: program != slipway}
	for _, name := range []string{"home", "xdg", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	conf := "[containers]\ndefault_ulimits=[\"nofile=1024:4096\",\"nproc=10000:10000\"]\n"
	files := map[string]string{"containers.conf": conf, "file": "content\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			return nil, err
		}
	}
	t.env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + filepath.Join(dir, "home"),
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "xdg"), "TMPDIR=" + filepath.Join(dir, "tmp"), "STORE=" + filepath.Join(dir, "store"), "RUNS=" + filepath.Join(runs, filepath.Base(dir)), "PROGRAM=" + program,
		"REGISTRY=" + registry, "SLIPWAY=" + slipway,
		"CONTAINERS_CONF=" + filepath.Join(dir, "containers.conf"),
	}
	if program != slipway { // which runs with runc by itself then
		t.env = append(t.env, "BUILDAH_RUNTIME=runc")
	}
	base, err := tree.Machine(tree.Tools()...)
	if err != nil {
		return nil, err
	}
	if err := tree.Layout(filepath.Join(dir, "layout"), tree.Config{"Env": []string{"PATH=/usr/bin:/bin"}}, base); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "mixed"), mixed(), 0o644); err != nil {
		return nil, err
	}
	_, err = t.run("tool tag $(tool pull -q oci:$PWD/layout:latest) base; c=$(tool from base); tool copy -q $c mixed /mixed; tool commit -q --rm $c big; tool push -q --tls-verify=false big docker://$REGISTRY/app:1; STORE=$STORE-empty; tool images >/dev/null", 1)
	return t, err
}

// mixed is 64 MB that compress to about half: noise, which is the same in every run, and text in turn.
func mixed() []byte {
	noise := rand.NewChaCha8([32]byte{})
	content := make([]byte, 64<<20)
	for at := 0; at < len(content); at += 8192 {
		_, _ = noise.Read(content[at : at+4096]) // never fails
		copy(content[at+4096:at+8192], bytes.Repeat([]byte(fmt.Sprintf("line %d of a text\n", at)), 256))
	}
	return content
}

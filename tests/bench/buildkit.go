package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/tests/harness"
)

// buildKitRows are builds beside `docker build` with BuildKit. Its CPU time is that of the client, of its daemons, and of all that these
// started.
func buildKitRows() []prepared {
	return []prepared{
		{row: row{"30 steps, cold; peer: BuildKit", 1, "$BUILD --no-cache ctx30 >/dev/null", 0.35}, before: steps30},
		{row: row{"30 steps, cached; peer: BuildKit", 3, "$BUILD ctx30 >/dev/null", 0.25}, before: steps30},
		{row: row{"200 MB context, unchanged; peer: BuildKit", 3, "$BUILD ctx200 >/dev/null", 0.4}, before: context200},
		{row: row{"eight stages of sleep 0.5; peer: BuildKit", 1, "$BUILD --no-cache $EIGHT ctx8 >/dev/null", 0}, before: stages8},
		{row: row{"sleep 0.5 beside another stage's; peer: BuildKit", 1, "$BUILD --no-cache ctx2 >/dev/null", 0}, before: stages2},
	}
}

// measureBuildKit measures such rows; where no daemon can be started it says why and skips them.
func measureBuildKit(rows []prepared, n int, ours *tool, h *harness.Harness) (results []result, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	if os.Getuid() != 0 {
		fmt.Println("SKIP: BuildKit's rows: needs root")
		return nil, nil
	}
	daemons, err := harness.StartDocker(filepath.Join(h.Dir, "docker"))
	if err != nil {
		fmt.Println("SKIP: BuildKit's rows:", err)
		return nil, nil
	}
	defer daemons.Stop()
	dir := filepath.Join(h.Dir, "buildkit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if _, err := ours.run("tool push -q base docker-archive:"+dir+"/base.tar:base:latest", 1); err != nil {
		return nil, err
	}
	us := *ours
	us.env = append(slices.Clip(us.env), "BUILD=tool bud -q --layers", "EIGHT=--jobs 8")
	theirs := &tool{program: daemons.CLI, dir: dir, daemons: daemons, env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir,
		"STORE=" + dir, "DOCKER_HOST=" + daemons.Host, "DOCKER_BUILDKIT=1", "BUILD=tool build -q --network none"}}
	if _, err := theirs.run("tool load -qi base.tar", 1); err != nil {
		return nil, err
	}
	version, err := exec.Command(daemons.CLI, "--version").Output()
	if err != nil {
		return nil, err
	}
	fmt.Println("The peer of the next rows:", strings.TrimSpace(string(version)))
	for _, r := range rows {
		res, err := r.measure(n, &us, theirs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Println(res)
		results = append(results, res)
	}
	return results, nil
}

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/tests/harness"
)

// oneIDRows are builds whose RUN steps give files away: one installs packages and makes a user, one does nothing else, many times. Both
// sides are Slipway: the first as a user with one id, where a supervisor answers for owners, the peer as a user with ranges, where the
// kernel does.
func oneIDRows() []row {
	return []row{
		{"apt build with one id; peer: Slipway with id ranges", 1, "tool bud -q --no-cache ctx >/dev/null", 1.3},
		{"chown -R, find -user, cp -a of 5,000 files with one id; peer: with id ranges", 1, "tool bud -q --no-cache -f ctx/Dockerfile.chown ctx >/dev/null", 0},
	}
}

// selected are the rows whose names contain text.
func selected[R operation](rows []R, text string) []R {
	return slices.DeleteFunc(rows, func(r R) bool { return !strings.Contains(r.title(), text) })
}

const oneIDDockerfile = `FROM debian-base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends dbus cron iputils-ping >/dev/null 2>&1
RUN useradd -m joe && chown -R joe /srv && cp -a /etc /srv/etc
`

const chownDockerfile = `FROM debian-base
RUN mkdir /m && cd /m && seq 5000 | split -l 1 -a 4 && chown -R 5:6 . && find . -user 5 >/found && cp -a . /copy
`

// measureOneID measures such rows; a machine without the test users or mmdebstrap skips them.
func measureOneID(rows []row, n int, h *harness.Harness) ([]result, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	for _, name := range []string{"users", "newuidmap", "mmdebstrap", "setpriv"} {
		if ok, err := harness.Condition(name); err != nil || !ok {
			fmt.Printf("SKIP: %s: needs %s\n", rows[0].name, name)
			return nil, err
		}
	}
	archive, err := harness.DebianTar()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(h.Dir, "debian")
	script := fmt.Sprintf(`PATH=%s:$PATH; c=$(slipway from scratch); slipway add -q $c %s / >/dev/null; slipway commit -q --rm $c debian-base >/dev/null
slipway push -q --disable-compression debian-base oci:%s/layout:latest; chmod -R a+rX %s`, filepath.Dir(h.Bin), archive, dir, dir)
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = append(os.Environ(), "SLIPWAY_ROOT="+dir+"/root", "SLIPWAY_RUNROOT="+dir+"/run")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making the base: %w\n%s", err, out)
	}
	ours, err := asUser(h, "slipway-single", dir+"/layout")
	if err != nil {
		return nil, err
	}
	theirs, err := asUser(h, "slipway-ranges", dir+"/layout")
	if err != nil {
		return nil, err
	}
	var results []result
	for _, r := range rows {
		res, err := r.measure(min(n, 2), ours, theirs)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		fmt.Println(res)
		results = append(results, res)
	}
	return results, nil
}

// asUser makes the directory of a user's tool, with the base image in its store.
func asUser(h *harness.Harness, name, layout string) (*tool, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(h.Dir, name)
	t := &tool{program: "setpriv --reuid " + u.Uid + " --regid " + u.Gid + " --clear-groups " + h.Bin, dir: dir}
	t.env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir, "STORE=" + dir + "/store", "RUNS=" + dir + "/run"}
	if err := os.MkdirAll(dir+"/ctx", 0o755); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"Dockerfile": oneIDDockerfile, "Dockerfile.chown": chownDockerfile} {
		if err := os.WriteFile(dir+"/ctx/"+name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	if err := os.Chown(dir, uid, -1); err != nil {
		return nil, err
	}
	_, err = t.run("tool tag $(tool pull -q oci:"+layout+":latest) debian-base", 1)
	return t, err
}

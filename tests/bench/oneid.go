package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/slipway-build/slipway/tests/harness"
)

// oneIDRow is a build whose RUN steps install packages, make a user and give files away. Both sides are Slipway: the first
// as a user with one id, where a supervisor answers for owners, the peer as a user with ranges, where the kernel does.
func oneIDRow() row {
	return row{"apt build with one id; peer: Slipway with id ranges", 1, "tool bud -q --no-cache ctx >/dev/null", 1.3}
}

const oneIDDockerfile = `FROM debian-base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends dbus cron iputils-ping >/dev/null 2>&1
RUN useradd -m joe && chown -R joe /srv && cp -a /etc /srv/etc
`

// measureOneID measures that row; a machine without the test users or mmdebstrap skips it.
func measureOneID(n int, h *harness.Harness) (*result, error) {
	for _, name := range []string{"users", "newuidmap", "mmdebstrap", "setpriv"} {
		if ok, err := harness.Condition(name); err != nil || !ok {
			fmt.Printf("SKIP: %s: needs %s\n", oneIDRow().name, name)
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
	res, err := oneIDRow().measure(min(n, 2), ours, theirs)
	return &res, err
}

// asUser makes the directory of a user's tool, with the base image in its store.
func asUser(h *harness.Harness, name, layout string) (*tool, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(h.Dir, name)
	t := &tool{program: "setpriv --reuid " + u.Uid + " --regid " + u.Gid + " --clear-groups " + h.Bin, dir: dir}
	t.env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + dir, "TMPDIR=" + dir, "STORE=" + dir + "/store"}
	if err := os.MkdirAll(dir+"/ctx", 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(dir+"/ctx/Dockerfile", []byte(oneIDDockerfile), 0o644); err != nil {
		return nil, err
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

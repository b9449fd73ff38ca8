package interop

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/tree"
	"github.com/slipway-build/slipway/tests/harness"
)

// TestDebianPod installs real packages in a restricted pod, with one id and nothing else, and compares every owner, mode,
// device and capability with the same build done as root. Then it is TestDebian's story there: a script of primitives, every transport, and
// the image back in an empty store.
func TestDebianPod(t *testing.T) {
	harness.Need(t, "runc")
	archive := debianTar(t)
	s := shared.NewStore(t)
	ctx := filepath.Join(s.Dir, "ctx")
	if err := os.MkdirAll(filepath.Join(ctx, "app/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"app/bin/serve": "#!/bin/sh\n", "app/data": "x\n", "Dockerfile": podDockerfile} {
		if err := os.WriteFile(filepath.Join(ctx, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := filepath.Join(s.Dir, "build.sh")
	const text = `set -e
c=$(slipway from scratch)
slipway add -q $c "$1" /
slipway commit -q --rm $c debian-base >id
slipway bud -q --cap-add MKNOD -t made "$2"
slipway push -q --disable-compression made oci:$3:latest
test -n "$4" || exit 0
c=$(slipway from debian-base)
slipway run $c -- sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends hello >/dev/null && hello'
slipway unshare --mount m=$c sh -c 'echo written by the host >$m/srv/through-mount'
slipway config --env GREETING=hi --label a=b --port 80 --workingdir /srv --cmd '["/bin/sh","-c","hello -g $GREETING"]' $c
id=$(slipway commit -q --rm $c demo)
mkdir $3.out
places="docker://$4/team/demo:v1 oci:$3.out/layout:v1 oci-archive:$3.out/archive.tar dir:$3.out/plain"
for place in $places docker-archive:$3.out/docker.tar:demo:v1; do slipway push -q --tls-verify=false demo $place; done
export SLIPWAY_ROOT=$3.out/store SLIPWAY_RUNROOT=$3.out/run
for place in $places; do
	got=$(slipway pull -q --tls-verify=false $place)
	test $got = $id || { echo "$got from $place, pushed $id"; exit 1; }
done
for i in $id $(slipway pull -q docker-archive:$3.out/docker.tar); do
	c=$(slipway from $i)
	slipway run $c -- sh -c 'cat through-mount; hello -g $GREETING'
done
`
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Run("sh", script, archive, ctx, filepath.Join(s.Dir, "by-root"), "")
	want := podTree(t, filepath.Join(s.Dir, "by-root"))
	for _, filter := range []string{"O"} { // A is in tests/script/pod_run.txtar
		dir := filepath.Join(s.Dir, "pod-"+filter)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, harness.PodUID, 0); err != nil {
			t.Fatal(err)
		}
		p := harness.Pod{
			Filter: filter, Dir: dir, ReadOnly: []string{filepath.Dir(s.Bin), ctx, script}, Volumes: []harness.Volume{{At: "/mnt", From: filepath.Dir(archive)}},
			Env: []string{"PATH=" + filepath.Dir(s.Bin) + ":/usr/bin:/bin", "SLIPWAY_ROOT=" + dir + "/root", "SLIPWAY_RUNROOT=" + dir + "/run"},
		}
		for _, kv := range s.Command("true").Env {
			if strings.Contains(strings.ToLower(kv), "_proxy=") {
				p.Env = append(p.Env, kv)
			}
		}
		cmd, err := p.Command(filepath.Join(s.Dir, "bundle-"+filter), "sh", script, "/mnt/"+filepath.Base(archive), ctx, dir+"/made", startRegistry(t, s))
		if err != nil {
			t.Fatal(err)
		}
		contains(t, s.Run(cmd.Args...), strings.Repeat("\nwritten by the host\nhi", 2))
		got := podTree(t, dir+"/made")
		if len(got) < 5000 {
			t.Errorf("filter %s: only %d files", filter, len(got))
		}
		for name, line := range want {
			if got[name] != line {
				t.Errorf("filter %s: %s: root has %q, the pod %q", filter, name, line, got[name])
			}
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				t.Errorf("filter %s: %s is only in the pod's image", filter, name)
			}
		}
	}
}

const podDockerfile = `FROM debian-base AS base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends dbus cron iputils-ping sudo rsync libcap2-bin >/tmp/log 2>&1 || { tail -n 40 /tmp/log; exit 1; }; rm /tmp/log
RUN useradd -m -u 1234 joe && adduser --quiet --system --group --home /srv/svc svc && su joe -c 'mkdir -p ~/.config/x; ln -s x ~/.config/y; umask 027; echo secret >~/mine'
COPY --chown=joe:svc app /srv/app
RUN chown -R svc:33 /srv/svc && mknod /srv/null c 1 3 && mkfifo /srv/pipe && chown 7:8 /srv/pipe && install -o joe -g svc -m 6755 /usr/bin/id /srv/id
RUN cp -a /home/joe /srv/joe && tar -C /home -cf - joe | tar -C /mnt -xpf - && find /srv -user joe | sort >/srv/joes
RUN usermod -aG sudo joe && echo 'joe ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/joe && \
  su joe -c 'cd; sudo id -u; sudo -u svc id -un; id -un; sudo touch roots; touch joes; sudo chown svc roots; stat -c "%U %a" roots joes' >/srv/sudo 2>/dev/null
RUN mkdir /many && cd /many && seq 300 | split -l 1 -a 3 && chown -R joe:sudo . && rsync -aX ./ /rsynced/ && cp -a . /copied && su joe -c 'cp -a /etc/passwd /tmp; rsync -a /rsynced /tmp'; true
RUN install -o 1234 -g 5678 -m 4711 /bin/true /srv/t && setcap cap_net_bind_service=ep /srv/t && cp -a /srv/t /srv/t2 && getcap /srv/t >/srv/cap
RUN install -d -o joe -g 33 -m 2775 /srv/d && touch /srv/d/by-root && su joe -c 'touch /srv/d/by-joe; mkdir /srv/d/sub; echo touch /srv/d/new | newgrp sudo'
RUN perl -e '$> = 1234; open F, ">/tmp/perl"; close F; $> = 0; $) = "77 77"; mkdir "/tmp/perls"; chown 9, 9, "/tmp/perls"'
USER joe
WORKDIR /home/joe/work
RUN echo $(id -un) $(stat -c %U /etc/shadow) $(find /home/joe -not -user joe | wc -l) >report
FROM base
COPY --from=base --chown=99 /srv/app /opt/app
`

// podTree describes what an image has, by name: everything that a build as somebody else could get wrong. What steps saw, they
// wrote below /srv: there the content counts too.
func podTree(t *testing.T, layout string) map[string]string {
	t.Helper()
	img, err := tree.Read(layout)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, f := range tree.Merge(img.Layers...) {
		m[f.Name] = fmt.Sprintf("%c %04o %d:%d %d,%d %s %x", f.Type, f.Mode&0o7777, f.UID, f.GID, f.Major, f.Minor, f.Link, f.Xattrs["security.capability"])
		if strings.HasPrefix(f.Name, "srv/") {
			m[f.Name] += fmt.Sprintf(" %x", sha256.Sum256(f.Data))
		}
	}
	return m
}

package interop

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/tree"
	"github.com/slipway-build/slipway/tests/harness"
)

// TestDebianPod installs real packages in a restricted pod, with one id and nothing else, and as an ordinary user with ranges, and compares every
// owner, mode, device and capability with the same build done as root. Then it is TestDebian's story there: a script of primitives, every
// transport, and the image back in an empty store.
func TestDebianPod(t *testing.T) {
	b := newPodBuild(t)
	b.s.Run("sh", b.script, b.archive, b.ctx, filepath.Join(b.s.Dir, "by-root"), "", "1")
	want := podTree(t, filepath.Join(b.s.Dir, "by-root"))
	if len(want) < 5000 {
		t.Fatalf("only %d files", len(want))
	}
	t.Run("pod", func(t *testing.T) {
		harness.Need(t, "runc")
		samePodTree(t, b.inPod(t, "O"), want) // A is in tests/script/pod_run.txtar
	})
	t.Run("no namespace", func(t *testing.T) {
		harness.Need(t, "root", "runc")
		b.unrun(t)
	})
	t.Run("ranges", func(t *testing.T) {
		harness.Need(t, "root", "users", "newuidmap", "setpriv")
		for name, line := range want { // with ranges nobody may make one
			if line[0] == tar.TypeChar || line[0] == tar.TypeBlock {
				delete(want, name)
			}
		}
		host := startRegistry(t, b.s.With(t))
		t.Run("overlay", func(t *testing.T) { samePodTree(t, b.asUser(t, host, "STORAGE_DRIVER=overlay"), want) })
		t.Run("vfs", func(t *testing.T) {
			samePodTree(t, b.asUser(t, "", "STORAGE_DRIVER=vfs", "BUILDAH_LAYERS=false"), want)
		})
	})
}

// A podBuild is what is built, by different users.
type podBuild struct {
	s                    *harness.Store
	archive, ctx, script string
}

// podScript gets an archive, a context, where to put the image, a registry or nothing for no transports, and whether devices can be made.
const podScript = `set -e
c=$(slipway from scratch)
slipway add -q $c "$1" /
slipway commit -q --rm $c debian-base >id
slipway bud -q --cap-add MKNOD --build-arg DEVICES=$5 -t made "$2"
slipway push -q --disable-compression made oci:$3:latest
c=$(slipway from debian-base)
slipway run $c -- sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends hello >/dev/null && hello'
slipway unshare --mount m=$c sh -c 'echo written by the host >$m/srv/through-mount'
slipway config --env GREETING=hi --label a=b --port 80 --workingdir /srv --cmd '["/bin/sh","-c","hello -g $GREETING"]' $c
id=$(slipway commit -q --rm $c demo)
c=$(slipway from $id)
slipway run $c -- sh -c 'cat through-mount; hello -g $GREETING'
test -n "$4" || exit 0
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

func newPodBuild(t *testing.T) podBuild {
	t.Helper()
	s := shared.NewStore(t)
	b := podBuild{s: s, archive: debianTar(t), ctx: filepath.Join(s.Dir, "ctx"), script: filepath.Join(s.Dir, "build.sh")}
	if err := errors.Join(os.Chmod(s.Dir, 0o755), os.MkdirAll(filepath.Join(b.ctx, "app/bin"), 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ctx/app/bin/serve": "#!/bin/sh\n", "ctx/app/data": "x\n", "ctx/Dockerfile": podDockerfile, "build.sh": podScript} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// inPod builds in a restricted pod with one of the filters.
func (b podBuild) inPod(t *testing.T, filter string) map[string]string {
	t.Helper()
	dir := b.dir(t, "pod-"+filter, harness.PodUID, 0)
	p := harness.Pod{
		Filter: filter, Dir: dir, ReadOnly: []string{filepath.Dir(b.s.Bin), b.ctx, b.script},
		Volumes: []harness.Volume{{At: "/mnt", From: filepath.Dir(b.archive)}}, Env: b.env(dir),
	}
	cmd, err := p.Command(filepath.Join(b.s.Dir, "bundle-"+filter), "sh", b.script, "/mnt/"+filepath.Base(b.archive), b.ctx, dir+"/made", startRegistry(t, b.s.With(t)), "1")
	if err != nil {
		t.Fatal(err)
	}
	contains(t, b.s.With(t).Run(cmd.Args...), strings.Repeat("\nwritten by the host\nhi", 3))
	return podTree(t, dir+"/made")
}

// unrunScript pulls an image and builds on it without RUN, by a Dockerfile and by primitives, in one layer for each stage.
const unrunScript = `set -e
export BUILDAH_LAYERS=false
slipway pull -q --tls-verify=false docker://$2/team/made:1 >id
slipway tag $(cat id) made
slipway bud -q -t unrun -f $1/Dockerfile.unrun $1
c=$(slipway from unrun)
slipway add -q --chown joe:svc $c $1/app /opt/by-name
slipway copy -q --from made $c /srv/svc /opt/svc
slipway config --user joe $c
slipway commit -q --tls-verify=false $c docker://$2/team/unrun:$3
`

const unrunDockerfile = `FROM made AS one
ADD files.tar /files/
ADD --chown=joe:33 app /added
COPY --from=made --chown=svc /usr/bin/passwd /copied/
WORKDIR /made/by/workdir
FROM made
COPY --from=one /files /files2
COPY --from=one /srv /srv2
COPY --from=one --chown=12:13 --chmod=4711 /added/data /chmod
COPY --link --chown=5:6 app /linked
`

// unrun builds as root and in a pod whose filter refuses user namespaces.
func (b podBuild) unrun(t *testing.T) {
	host := startRegistry(t, b.s.With(t))
	s := b.s.With(t)
	script := filepath.Join(b.ctx, "unrun.sh")
	err := errors.Join(os.WriteFile(script, []byte(unrunScript), 0o644), os.WriteFile(b.ctx+"/Dockerfile.unrun", []byte(unrunDockerfile), 0o644),
		os.WriteFile(b.ctx+"/files.tar", oddOwners(t), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	s.Slipway("commit", "-q", "--squash", "--tls-verify=false", s.Slipway("from", "made"), "docker://"+host+"/team/made:1")
	s.Run("sh", script, b.ctx, host, "root")
	dir := b.dir(t, "pod-C", harness.PodUID, 0)
	p := harness.Pod{Filter: "C", Dir: dir, ReadOnly: []string{filepath.Dir(s.Bin), b.ctx}, Env: b.env(dir)}
	cmd, err := p.Command(filepath.Join(s.Dir, "bundle-C"), "sh", script, b.ctx, host, "pod")
	if err != nil {
		t.Fatal(err)
	}
	s.Run(cmd.Args...)
	trees := map[string]map[string]string{}
	for _, who := range []string{"root", "pod"} {
		s.Slipway("push", "-q", "--tls-verify=false", "docker://"+host+"/team/unrun:"+who, "oci:"+s.Dir+"/unrun-"+who+":latest")
		trees[who] = podTree(t, s.Dir+"/unrun-"+who)
	}
	for name, want := range map[string]string{"files2/null": "3 0644 0:5 1,3", "files2/link": "2 0777 23:24 0,0 f", "files2/pipe": "6 0600 25:26", "linked/data": "0 0644 5:6", "chmod": "0 4711 12:13"} {
		if got := trees["root"][name]; !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
	samePodTree(t, trees["pod"], trees["root"])
}

// oddOwners is an archive with files of all kinds, each of somebody else.
func oddOwners(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o2750, Uid: 27, Gid: 28},
		{Name: "f", Typeflag: tar.TypeReg, Mode: 0o6755, Uid: 21, Gid: 22},
		{Name: "d/hard", Typeflag: tar.TypeLink, Linkname: "f", Mode: 0o6755, Uid: 21, Gid: 22},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "f", Mode: 0o777, Uid: 23, Gid: 24},
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600, Uid: 25, Gid: 26},
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o644, Gid: 5, Devmajor: 1, Devminor: 3},
		{Name: "private", Typeflag: tar.TypeReg, Mode: 0, Uid: 29, Gid: 30},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// asUser builds as the user with ranges.
func (b podBuild) asUser(t *testing.T, registry string, env ...string) map[string]string {
	t.Helper()
	u, err := user.Lookup("slipway-ranges")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	dir := b.dir(t, filepath.Base(t.Name()), uid, gid)
	s := b.s.With(t)
	s.Run("cp", b.archive, dir+"/debian.tar") // whose own directory is closed
	argv := append([]string{"setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups", "env", "-i", "-C", dir}, append(b.env(dir), env...)...)
	times := 1
	if registry != "" {
		times = 3
	}
	contains(t, s.Run(append(argv, "sh", b.script, dir+"/debian.tar", b.ctx, dir+"/made", registry, "")...), strings.Repeat("\nwritten by the host\nhi", times))
	return podTree(t, dir+"/made")
}

// dir is a new directory of somebody's.
func (b podBuild) dir(t *testing.T, name string, uid, gid int) string {
	t.Helper()
	dir := filepath.Join(b.s.Dir, name)
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, uid, gid)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (b podBuild) env(dir string) []string {
	env := []string{"PATH=" + filepath.Dir(b.s.Bin) + ":/usr/bin:/bin", "HOME=/", "SLIPWAY_ROOT=" + dir + "/root", "SLIPWAY_RUNROOT=" + dir + "/run"}
	for _, kv := range b.s.Command("true").Env {
		if strings.Contains(strings.ToLower(kv), "_proxy=") {
			env = append(env, kv)
		}
	}
	return env
}

func samePodTree(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, line := range want {
		if got[name] != line {
			t.Errorf("%s: root has %q, this %q", name, line, got[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is only in this image", name)
		}
	}
}

const podDockerfile = `FROM debian-base AS base
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends dbus cron iputils-ping sudo rsync libcap2-bin >/tmp/log 2>&1 || { tail -n 40 /tmp/log; exit 1; }; rm /tmp/log
RUN useradd -m -u 1234 joe && adduser --quiet --system --group --home /srv/svc svc && su joe -c 'mkdir -p ~/.config/x; ln -s x ~/.config/y; umask 027; echo secret >~/mine'
COPY --chown=joe:svc app /srv/app
RUN chown -R svc:33 /srv/svc && mkfifo /srv/pipe && chown 7:8 /srv/pipe && install -o joe -g svc -m 6755 /usr/bin/id /srv/id
ARG DEVICES
RUN test -z "$DEVICES" || mknod /srv/null c 1 3
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

package interop

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/internal/tree"
	"github.com/slipway-build/slipway/tests/harness"
)

// A node is a YAML mapping.
type node = map[string]any

// TestKubernetes runs every command of docs/kubernetes.md, in order, in simulated pods whose root is Slipway's own image
// (the machine's, for containers of other images), with the volumes of the manifests, and looks at what was pushed.
func TestKubernetes(t *testing.T) {
	harness.Need(t, "root", "runc")
	k := newCluster(t)
	for _, block := range k.blocks(t) {
		switch {
		case block["kind"] == "ConfigMap":
			k.configs[at(block, "metadata")["name"].(string)] = at(block, "data")
		case block["kind"] == "Job":
			k.pod(t, at(block, "spec", "template", "spec"))
		case block["kind"] == "Pod":
			k.pod(t, at(block, "spec"))
		case block["kind"] == "Task":
			k.task(t, at(block, "spec"))
		case block["image"] != nil: // GitLab
			k.runner(t)
			job := at(block, "image")
			k.shell(t, at(job, "variables"), texts(job["script"]))
		case block["jobs"] != nil: // GitHub
			job := at(block, "jobs", "image")
			steps := job["steps"].([]any)
			k.shell(t, at(job, "env"), []string{steps[1].(node)["run"].(string)})
		default:
			t.Errorf("nobody knows how to run %v", block)
		}
	}
	for _, tag := range []string{"1-amd64", "s2i", "tekton", "gitlab", "github"} {
		dir := filepath.Join(k.s.Dir, "check-"+tag)
		k.s.Slipway("push", "-q", "--tls-verify=false", "--authfile", k.secret+"/.dockerconfigjson", "docker://"+k.reg.Host()+"/team/app:"+tag, "oci:"+dir+":latest")
		img, err := tree.Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := "-0644 33:44 4 /app/owned\n"
		if tag == "s2i" {
			want = "-0644 1001:0 10 /opt/assembled\n"
		}
		contains(t, tree.Merge(img.Layers...).String(), want)
	}
	if _, ok := k.reg.Tags("team/app")["1"]; !ok {
		t.Error("the list was not pushed")
	}
	k.cache(t)
	t.Run("run", k.consumers)
}

// consumers pull and run what the pods have pushed: the container runtime of most clusters, by its own client and as kubelets ask it
// to, podman, and crun.
func (k *cluster) consumers(t *testing.T) {
	s := k.s.With(t)
	app, pause := k.reg.Host()+"/team/app:1", s.Dir+"/pause.tar"
	show := []string{"stat", "-c", "%n %u:%g %a", "/app/owned", "/bin/sh"}
	const owners, auth = "/app/owned 33:44 644\n/bin/sh 0:0 755", "joe:secret"
	t.Run("podman", func(t *testing.T) {
		harness.Need(t, "podman", "runc")
		s := s.With(t)
		s.Podman("pull", "-q", "--tls-verify=false", "--creds", auth, app)
		contains(t, s.Podman(append([]string{"run", "--rm", "--network", "none", "--ulimit", "nproc=10000:10000", "--ulimit", "nofile=1024:4096", app}, show...)...), owners)
	})
	t.Run("crun", func(t *testing.T) {
		harness.Need(t, "umoci", "crun")
		contains(t, bundle(t, s.With(t), s.Dir+"/check-1-amd64:latest", "crun", show...), owners)
	})
	t.Run("containerd", func(t *testing.T) {
		harness.Need(t, "root", "containerd", "ctr", "runc")
		s.Slipway("from", "--name", "pause", "base")
		s.Slipway("config", "--cmd", `["/bin/sleep","1000"]`, "pause")
		s.Slipway("commit", "-q", "--rm", "pause", "localhost/pause:1")
		s.Slipway("push", "-q", "localhost/pause:1", "oci-archive:"+pause+":localhost/pause:1")
		c := startContainerd(t, s, pause)
		c.ctr("images", "pull", "--plain-http", "--user", auth, app)
		contains(t, c.ctr(append([]string{"run", "--rm", "--net-host", app, "direct"}, show...)...), owners)
		s2i := k.reg.Host() + "/team/app:s2i"
		contains(t, c.kubelet(auth, s2i, "sh", "-c", "id -u; cat /opt/assembled; stat -c %u:%g /opt/assembled"), "1000660000\nabc\nbuilt\n1001:0")
	})
}

// bundle runs a command in a layout's image with a low-level runtime. crun refuses hosts with both versions of control groups, so it
// does not see the second.
func bundle(t *testing.T, s *harness.Store, image, runtime string, argv ...string) string {
	t.Helper()
	dir := filepath.Join(s.Dir, "bundle-"+runtime)
	s.Run("umoci", "unpack", "--image", image, dir)
	name := filepath.Join(dir, "config.json")
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var spec node
	if err := json.Unmarshal(body, &spec); err != nil {
		t.Fatal(err)
	}
	process := at(spec, "process")
	process["terminal"], process["args"] = false, argv
	if body, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, body, 0o644); err != nil {
		t.Fatal(err)
	}
	const script = `umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"`
	return s.Run("unshare", "-m", "sh", "-c", script, "sh", runtime, "--root", dir+"/state", "run", "--bundle", dir, "slipway-interop-"+filepath.Base(s.Dir))
}

// line returns what follows a text in the page, up to an end.
func (k *cluster) line(t *testing.T, begin, end string) string {
	t.Helper()
	_, rest, ok1 := strings.Cut(k.page, begin)
	text, _, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("the page has no %q", begin)
	}
	return begin + text
}

// cache builds with the page's flags for a shared cache, in two pods one after the other: the second has nothing to execute.
func (k *cluster) cache(t *testing.T) {
	t.Helper()
	var c node
	if err := yaml.Unmarshal([]byte(k.line(t, "args: [build, --authfile=/run/secrets/registry/.dockerconfigjson, --cache-from", "\n\n")), &c); err != nil {
		t.Fatal(err)
	}
	c["image"] = "tools/slipway:latest"
	c["volumeMounts"] = []any{
		node{"name": "workspace", "mountPath": "/workspace"}, node{"name": "storage", "mountPath": "/var/lib/slipway"},
		node{"name": "credentials", "mountPath": "/run/secrets/registry", "readOnly": true},
	}
	for _, want := range []string{"--> Pushing cache", "--> Cache pulled from remote"} {
		volumes := map[string]string{"workspace": k.dir(t), "storage": k.dir(t), "credentials": k.secret}
		k.s.Run("cp", "-a", k.git, volumes["workspace"]+"/app")
		contains(t, k.container(t, c, volumes, nil), want)
	}
}

// runner makes the image for runners that need a shell, with the page's line, and has them run in it from now on.
func (k *cluster) runner(t *testing.T) {
	t.Helper()
	s, registry := k.s.With(t), "docker://"+k.reg.Host()
	s.Slipway("push", "-q", "--tls-verify=false", "--creds", "joe:secret", "slipway", registry+"/tools/slipway:latest")
	line := strings.ReplaceAll(k.line(t, "COPY --from=", "`"), "\n", " ")
	k.file(t, "runner/Dockerfile", "FROM base\n"+line+"\n")
	s.Slipway("build", "-q", "--tls-verify=false", "--creds", "joe:secret", "-t", "runner", filepath.Join(s.Dir, "runner"))
	s.Slipway("from", "--name", "runner", "runner")
	k.shellRoot = s.Slipway("mount", "runner")
}

// A cluster is what the manifests need around them.
type cluster struct {
	s    *harness.Store
	reg  *regtest.Registry
	page string // with the names of this cluster in place of those of the page
	root string // of Slipway's image
	// shellRoot is that of the image for runners.
	shellRoot string
	git       string // the repository
	secret    string
	configs   map[string]node
	pods      int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := shared.NewStore(t)
	k := &cluster{s: s, reg: regtest.Start(regtest.Options{User: "joe", Password: "secret"}), configs: map[string]node{}}
	t.Cleanup(k.reg.Close)
	k.secret = filepath.Join(s.Dir, "secret")
	auth := base64.StdEncoding.EncodeToString([]byte("joe:secret"))
	k.file(t, "secret/.dockerconfigjson", fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, k.reg.Host(), auth))
	k.file(t, "registries/registries.conf", fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", k.reg.Host()))

	shared.Base(s, "base")
	s.Slipway("from", "--name", "b", "base")
	k.file(t, "assemble", "#!/bin/sh\ncp /tmp/src/data /opt/assembled && echo built >>/opt/assembled\n")
	s.Slipway("copy", "-q", "--chmod", "755", "b", filepath.Join(s.Dir, "assemble"), "/usr/libexec/s2i/assemble")
	s.Slipway("run", "b", "--", "sh", "-c", "mkdir -p /opt && chown 1001:0 /opt")
	s.Slipway("commit", "-q", "b", "builder")
	s.Slipway("push", "-q", "--tls-verify=false", "--creds", "joe:secret", "builder", "docker://"+k.reg.Host()+"/builders/app:latest")
	s.Slipway("push", "-q", "--tls-verify=false", "--creds", "joe:secret", "base", "docker://"+k.reg.Host()+"/library/base:latest")

	k.file(t, "repo/data", "abc\n")
	k.file(t, "repo/Dockerfile", "FROM "+k.reg.Host()+"/library/base\nCOPY data /app/owned\nRUN chown 33:44 /app/owned\n")
	k.git = filepath.Join(s.Dir, "repo")
	s.Run("git", "-C", k.git, "init", "-q", "-b", "main")
	s.Run("git", "-C", k.git, "add", ".")
	s.Run("git", "-C", k.git, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "one")
	s.Run("chown", "-R", fmt.Sprint(harness.PodUID), k.git)

	s.Run(filepath.Join(repository(t), "docs/image/build.sh"), s.Bin, "slipway")
	s.Slipway("from", "--name", "self", "slipway")
	k.root = s.Slipway("mount", "self")
	text, err := os.ReadFile(filepath.Join(repository(t), "docs/kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	k.page = k.local(string(text))
	return k
}

func (k *cluster) file(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(k.s.Dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// blocks reads the page's YAML.
func (k *cluster) blocks(t *testing.T) []node {
	t.Helper()
	var list []node
	for i, part := range strings.Split(k.page, "```yaml\n") {
		block, _, _ := strings.Cut(part, "```")
		dec := yaml.NewDecoder(strings.NewReader(block))
		for i > 0 {
			var n node
			err := dec.Decode(&n)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in:\n%s", err, block)
			}
			list = append(list, n)
		}
	}
	if len(list) < 7 {
		t.Fatalf("only %d manifests", len(list))
	}
	return list
}

// local replaces what names other machines, or is filled in by the system the text is for.
func (k *cluster) local(text string) string {
	return strings.NewReplacer(
		"https://git.example.com/team/app.git", "file://"+k.git, "team/app:1\"]\n        sec", "team/app:1-amd64\"]\n        sec",
		"registry.example.com", k.reg.Host(), "$(params.image)", k.reg.Host()+"/team/app:tekton",
		"${{ runner.temp }}", "/home", "${{ secrets.REGISTRY_PASSWORD }}", "secret", "${{ github.actor }}", "joe", "${{ github.sha }}", "github",
		"$CI_PROJECT_DIR", "/home", "$CI_REGISTRY_PASSWORD", "secret", "$CI_REGISTRY_USER", "joe", "$CI_REGISTRY_IMAGE", k.reg.Host()+"/team/app",
		"$CI_REGISTRY", k.reg.Host(), "$CI_COMMIT_SHORT_SHA", "gitlab",
	).Replace(text)
}

// pod runs the containers of a pod, one after the other, with its volumes.
func (k *cluster) pod(t *testing.T, spec node) {
	t.Helper()
	if c := at(spec, "securityContext"); c["runAsNonRoot"] != true || at(c, "seccompProfile")["type"] != "RuntimeDefault" {
		t.Errorf("the pod is not restricted: %v", c)
	}
	if strings.Contains(fmt.Sprint(spec), "1-arm64") {
		k.s.Slipway("tag", "--tls-verify=false", "--authfile", k.secret+"/.dockerconfigjson",
			"docker://"+k.reg.Host()+"/team/app:1-amd64", "docker://"+k.reg.Host()+"/team/app:1-arm64")
	}
	volumes := k.volumes(t, spec["volumes"])
	containers, _ := spec["initContainers"].([]any)
	for _, c := range append(containers, spec["containers"].([]any)...) {
		c := c.(node)
		if s := at(c, "securityContext"); s["allowPrivilegeEscalation"] != false || fmt.Sprint(s["capabilities"]) != "map[drop:[ALL]]" {
			t.Errorf("container %v is not restricted: %v", c["name"], s)
		}
		k.container(t, c, volumes, nil)
	}
}

// task runs the steps of a Tekton task; its workspaces are volumes.
func (k *cluster) task(t *testing.T, spec node) {
	t.Helper()
	volumes := k.volumes(t, spec["volumes"])
	volumes["source"], volumes["credentials"] = k.dir(t), k.secret
	k.s.Run("cp", "-a", k.git, volumes["source"]+"/app")
	mounts := append(at(spec, "stepTemplate")["volumeMounts"].([]any), spec["workspaces"].([]any)...)
	for _, step := range spec["steps"].([]any) {
		k.container(t, step.(node), volumes, mounts)
	}
}

// dir makes an empty volume, like kubelets do: writable for the pod's group, which it hands down.
func (k *cluster) dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(k.s.Dir, "volume")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (k *cluster) volumes(t *testing.T, list any) map[string]string {
	t.Helper()
	m := map[string]string{}
	volumes, _ := list.([]any)
	for _, v := range volumes {
		v := v.(node)
		name := v["name"].(string)
		switch {
		case v["secret"] != nil:
			m[name] = k.secret
		case v["configMap"] != nil:
			m[name] = k.dir(t)
			for file, text := range k.configs[at(v, "configMap")["name"].(string)] {
				if err := os.WriteFile(filepath.Join(m[name], file), []byte(text.(string)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		default:
			m[name] = k.dir(t)
		}
	}
	return m
}

func (k *cluster) container(t *testing.T, c node, volumes map[string]string, mounts []any) string {
	t.Helper()
	p := harness.Pod{Filter: "O", Dir: k.dir(t), Env: []string{"PATH=/usr/bin:/bin"}}
	if own, ok := c["volumeMounts"].([]any); ok {
		mounts = append(mounts, own...)
	}
	for _, m := range mounts {
		m := m.(node)
		p.Volumes = append(p.Volumes, harness.Volume{At: m["mountPath"].(string), From: volumes[m["name"].(string)], Write: m["readOnly"] != true})
	}
	argv := texts(c["command"])
	if strings.Contains(c["image"].(string), "/slipway:") {
		p.Root = k.root
		p.Env = []string{"PATH=/usr/bin", "HOME=/", "SLIPWAY_ROOT=/var/lib/slipway/storage", "SLIPWAY_RUNROOT=/var/lib/slipway/run"}
		p.Volumes = append(p.Volumes, harness.Volume{At: "/etc/containers", From: filepath.Join(k.s.Dir, "registries")})
		argv = append([]string{"/usr/bin/slipway"}, texts(c["args"])...)
	} else {
		p.ReadOnly = []string{k.git}
	}
	return k.run(t, p, argv...)
}

// shell runs the lines of a CI job, in a pod of the runners' image with the repository checked out.
func (k *cluster) shell(t *testing.T, env node, lines []string) {
	t.Helper()
	work := k.dir(t)
	k.s.Run("cp", "-a", k.git, work+"/app")
	p := harness.Pod{Filter: "O", Dir: k.dir(t), Root: k.shellRoot, Env: []string{"PATH=/usr/bin:/bin"}}
	p.Volumes = []harness.Volume{{At: "/home", From: work, Write: true}, {At: "/etc/containers", From: filepath.Join(k.s.Dir, "registries")}}
	for name, value := range env {
		p.Env = append(p.Env, name+"="+value.(string))
	}
	k.run(t, p, "sh", "-ec", "cd /home\n"+strings.Join(lines, "\n"))
}

func (k *cluster) run(t *testing.T, p harness.Pod, argv ...string) string {
	t.Helper()
	k.pods++
	cmd, err := p.Command(filepath.Join(k.s.Dir, fmt.Sprint("bundle-", k.pods)), argv...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out.String())
	}
	return out.String()
}

// at follows keys through mappings; what is missing is empty.
func at(n node, keys ...string) node {
	for _, key := range keys {
		n, _ = n[key].(node)
	}
	return n
}

func texts(list any) []string {
	var s []string
	items, _ := list.([]any)
	for _, item := range items {
		s = append(s, fmt.Sprint(item))
	}
	return s
}

// TestShippedProfile: the profile for nodes is the filter under which the pods of the tests run commands.
func TestShippedProfile(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(repository(t), "docs/kubernetes/seccomp.json"))
	if err != nil {
		t.Fatal(err)
	}
	tested, err := os.ReadFile(filepath.Join(repository(t), "tests/harness/pods/filter-A.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shipped, tested) {
		t.Error("docs/kubernetes/seccomp.json is not the tested filter A")
	}
}

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/tree"
	"github.com/slipway-build/slipway/tests/harness"
)

// TestDebian is the first user's story on a real distribution: import it, install a
// package, write through the mount, configure, commit; then every transport and
// every other tool.
func TestDebian(t *testing.T) {
	archive := debianTar(t)
	s := shared.NewStore(t)
	s.Slipway("from", "--name", "deb", "scratch")
	s.Slipway("add", "-q", "deb", archive, "/")
	s.Slipway("commit", "-q", "deb", "debian-base")
	s.Slipway("rm", "deb")

	s.Slipway("from", "--name", "work", "debian-base")
	s.Slipway("run", "work", "--", "sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends hello >/dev/null && hello")
	mnt := s.Slipway("mount", "work")
	if err := os.WriteFile(filepath.Join(mnt, "srv/through-mount"), []byte("written by the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.Slipway("umount", "work")
	s.Slipway("config", "--env", "GREETING=hi", "--label", "a=b", "--port", "80", "--workingdir", "/srv",
		"--cmd", `["/bin/sh","-c","hello -g $GREETING"]`, "work")
	id := s.Slipway("commit", "-q", "--rm", "work", "demo")

	t.Run("transports", func(t *testing.T) { transports(t, s.With(t), id) })
	t.Run("podman", func(t *testing.T) {
		harness.Need(t, "podman", "runc")
		s := s.With(t)
		contains(t, s.Podman("images", "--no-trunc", "-q"), id)
		out := s.Podman("run", "--rm", "--network", "none", "--ulimit", "nproc=10000:10000", "--ulimit", "nofile=1024:4096", "demo")
		if out != "hi" {
			t.Errorf("the image's command printed %q", out)
		}
	})
	t.Run("Dockerfile", func(t *testing.T) { compile(t, s.With(t)) })
	t.Run("work", func(t *testing.T) { work(t, s.With(t)) })
	t.Run("projects", func(t *testing.T) { projects(t, s.With(t)) })
	t.Run("projects of users", func(t *testing.T) { userProjects(t, s.With(t)) })
}

// transports pushes an image everywhere, pulls each back into an empty store, and
// shows the layout to skopeo, umoci and runc.
func transports(t *testing.T, s *harness.Store, id string) {
	host := startRegistry(t, s)
	places := []string{
		"docker://" + host + "/team/demo:v1", "oci:" + s.Dir + "/layout:v1", "oci-archive:" + s.Dir + "/archive.tar", "dir:" + s.Dir + "/plain",
	}
	for _, place := range append(places, "docker-archive:"+s.Dir+"/docker.tar:demo:v1") {
		s.Slipway("push", "-q", "--tls-verify=false", "demo", place)
	}
	if _, err := tree.Read(s.Dir + "/layout"); err != nil {
		t.Errorf("the layout: %v", err)
	}
	for _, place := range places {
		empty := shared.NewStore(t)
		if got := empty.Slipway("pull", "-q", "--tls-verify=false", place); got != id {
			t.Errorf("pulled %s from %s, pushed %s", got, place, id)
		}
		empty.Slipway("from", "--name", "c", id)
		if out := empty.Slipway("run", "c", "--", "cat", "/srv/through-mount"); out != "written by the host" {
			t.Errorf("from %s: %q", place, out)
		}
	}
	empty := shared.NewStore(t)
	converted := empty.Slipway("pull", "-q", "docker-archive:"+s.Dir+"/docker.tar")
	empty.Slipway("from", "--name", "c", converted)
	contains(t, empty.Slipway("run", "c", "--", "hello"), "Hello")

	t.Run("skopeo", func(t *testing.T) { skopeo(t, s.With(t), host) })
	t.Run("umoci", func(t *testing.T) { umoci(t, s.With(t)) })
}

func skopeo(t *testing.T, s *harness.Store, host string) {
	harness.Need(t, "skopeo")
	for _, place := range []string{"oci:" + s.Dir + "/layout:v1", "oci-archive:" + s.Dir + "/archive.tar", "docker-archive:" + s.Dir + "/docker.tar"} {
		contains(t, s.Run("skopeo", "--insecure-policy", "inspect", "--config", place), "GREETING=hi")
	}
	contains(t, s.Run("skopeo", "--insecure-policy", "inspect", "--tls-verify=false", "docker://"+host+"/team/demo:v1"), `"a": "b"`)
	s.Run("skopeo", "--insecure-policy", "copy", "oci-archive:"+s.Dir+"/archive.tar", "oci:"+s.Dir+"/copied:v1")
	if _, err := tree.Read(s.Dir + "/copied"); err != nil {
		t.Errorf("skopeo's copy: %v", err)
	}
}

// umoci unpacks the layout and runc runs the bundle.
func umoci(t *testing.T, s *harness.Store) {
	harness.Need(t, "umoci", "runc")
	bundle := filepath.Join(s.Dir, "bundle")
	s.Run("umoci", "unpack", "--image", s.Dir+"/layout:v1", bundle)
	name := filepath.Join(bundle, "config.json")
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(body, &spec); err != nil {
		t.Fatal(err)
	}
	spec["process"].(map[string]any)["terminal"] = false
	if body, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, body, 0o644); err != nil {
		t.Fatal(err)
	}
	out := s.Run("runc", "--root", filepath.Join(s.Dir, "runc"), "run", "--bundle", bundle, "slipway-interop-"+filepath.Base(s.Dir))
	if !strings.HasSuffix(out, "hi") {
		t.Errorf("runc printed %q", out)
	}
}

// compile builds a C program in one stage and ships it alone.
func compile(t *testing.T, s *harness.Store) {
	ctx := filepath.Join(s.Dir, "ctx")
	files := map[string]string{
		"hello.c":    "#include <stdio.h>\nint main(void) { puts(\"compiled by \" WHO); return 0; }\n",
		"Dockerfile": "FROM debian-base AS build\nARG WHO\nCOPY hello.c .\nRUN gcc -static -Os -DWHO=\"\\\"$WHO\\\"\" -o /hello hello.c\nFROM scratch\nCOPY --from=build /hello /hello\nENTRYPOINT [\"/hello\"]\n",
	}
	if err := os.Mkdir(ctx, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(ctx, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.Slipway("bud", "-q", "--build-arg", "WHO=slipway", "-t", "hello-scratch", ctx)
	s.Slipway("from", "--name", "h", "hello-scratch")
	if out := s.Slipway("run", "h", "--", "/hello"); out != "compiled by slipway" {
		t.Errorf("the program printed %q", out)
	}
	s.Slipway("push", "-q", "hello-scratch", "oci:"+s.Dir+"/hello:latest")
	img, err := tree.Read(s.Dir + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	if got := tree.Merge(img.Layers...); len(got) != 1 || got[0].Name != "hello" {
		t.Errorf("the image has more than the program:\n%s", got)
	}
}

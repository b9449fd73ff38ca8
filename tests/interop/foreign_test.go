package interop

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/tests/harness"
)

const foreignLayer = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"

// elsewhere is a server that has one blob, and counts how often it is asked.
func elsewhere(t *testing.T, blob []byte) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Add(1)
		if req.Header.Get("Authorization") != "" {
			t.Error("the server of a foreign layer was given credentials")
		}
		_, _ = w.Write(blob)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/blob", asked
}

// foreign makes the second layer of an image one that the registry does not have.
func foreign(blob []byte, urls ...string) func(map[string]any) {
	return func(m map[string]any) {
		d := described(foreignLayer, blob)
		d["urls"] = urls
		m["layers"].([]any)[1] = d
	}
}

// layersIn are the layers of a manifest.
func layersIn(t *testing.T, manifest string) (layers []struct {
	MediaType, Digest string
	URLs              []string
}) {
	t.Helper()
	var m struct{ Layers json.RawMessage }
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(m.Layers, &layers); err != nil {
		t.Fatal(err)
	}
	return layers
}

// TestForeignLayers: a layer that may not be distributed is fetched from where its descriptor says, without credentials; copies between
// registries and to layouts leave it there, and what comes from elsewhere is checked like all else.
func TestForeignLayers(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{User: "joe", Password: "secret"})
	defer r.Close()
	s := shared.NewStore(t)
	blob, diffID := packed(t, tar.Header{Name: "own", Typeflag: tar.TypeReg})
	far, farID := packed(t, tar.Header{Name: "far", Typeflag: tar.TypeReg})
	url, asked := elsewhere(t, far)
	c := crafted{[][]byte{blob, []byte("x")}, ociLayer, []string{diffID, farID}, foreign(far, url)}
	c.put(t, r, "foreign")
	name := r.Host() + "/app:foreign"
	access := []string{"--tls-verify=false", "--creds", "joe:secret"}
	slipway := func(command string, args ...string) string {
		t.Helper()
		return s.Slipway(append(append([]string{command}, access...), args...)...)
	}

	slipway("push", "-q", "docker://"+name, "docker://"+r.Host()+"/copy:1")
	slipway("push", "-q", "docker://"+name, "oci:"+s.Dir+"/layout:1")
	if n := asked.Load(); n != 0 {
		t.Errorf("copies of the image asked %d times for the layer that may not be copied", n)
	}
	for _, place := range []string{"docker://" + r.Host() + "/copy:1", "oci:" + s.Dir + "/layout:1"} {
		last := layersIn(t, s.Run("skopeo", "inspect", "--raw", "--tls-verify=false", "--creds", "joe:secret", place))[1]
		if last.MediaType != foreignLayer || len(last.URLs) != 1 || last.URLs[0] != url {
			t.Errorf("%s: the foreign layer is %+v", place, last)
		}
	}

	slipway("pull", "-q", name)
	if n := asked.Load(); n != 1 {
		t.Errorf("the pull asked %d times for the layer", n)
	}
	tree := s.Slipway("from", name)
	mount := s.Slipway("mount", tree)
	for _, file := range []string{"own", "far"} {
		if _, err := os.Stat(filepath.Join(mount, file)); err != nil {
			t.Error(err)
		}
	}
	slipway("push", "-q", name, "docker://"+r.Host()+"/pushed:1")
	slipway("push", "-q", name, "dir:"+s.Dir+"/pushed")
	other := shared.NewStore(t)
	other.Slipway(append(append([]string{"pull", "-q"}, access...), r.Host()+"/pushed:1")...)
	check(t, other)
	last := layersIn(t, s.Run("skopeo", "inspect", "--raw", "--tls-verify=false", "--creds", "joe:secret", "docker://"+r.Host()+"/pushed:1"))[1]
	if last.MediaType != foreignLayer || len(last.URLs) != 0 { // it is in this registry now
		t.Errorf("pushed from storage the foreign layer is %+v", last)
	}
}

// TestForeignRefused: what is elsewhere is checked by its digest and size, only fetched over HTTP, and nothing of a refused image stays.
func TestForeignRefused(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{})
	defer r.Close()
	s := shared.NewStore(t)
	blob, diffID := packed(t, tar.Header{Name: "own", Typeflag: tar.TypeReg})
	far, farID := packed(t, tar.Header{Name: "far", Typeflag: tar.TypeReg})
	wrong := bytes.Clone(far)
	wrong[len(wrong)-1] ^= 1
	wrongURL, _ := elsewhere(t, wrong)
	longURL, _ := elsewhere(t, append(bytes.Clone(far), make([]byte, 1<<20)...))
	shortURL, _ := elsewhere(t, far[:len(far)/2])
	gone := httptest.NewServer(http.NotFoundHandler())
	defer gone.Close()
	file := filepath.Join(s.Dir, "local")
	if err := os.WriteFile(file, far, 0o644); err != nil {
		t.Fatal(err)
	}
	for tag, tt := range map[string]struct{ url, want string }{
		"wrong": {wrongURL, ""},
		"long":  {longURL, "size"},
		"short": {shortURL, ""},
		"gone":  {gone.URL, "external blob"},
		"file":  {"file://" + file, ""},
	} {
		c := crafted{[][]byte{blob, []byte("x")}, ociLayer, []string{diffID, farID}, foreign(far, tt.url)}
		c.put(t, r, tag)
		pullRefused(t, s, r, tag, tt.want)
	}
}

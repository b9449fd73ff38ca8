package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/regtest"
	"github.com/slipway-build/slipway/tests/harness"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// A crafted image is what a registry gives that follows no rules.
type crafted struct {
	layers    [][]byte // as blobs
	layerType string
	diffIDs   []string
	edit      func(manifest map[string]any)
}

// put stores the image and returns its manifest's descriptor.
func (c crafted) put(t *testing.T, r *regtest.Registry, tag string) map[string]any {
	t.Helper()
	config := marshal(t, map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": c.diffIDs}})
	var layers []any
	for _, l := range c.layers {
		layers = append(layers, described(c.layerType, l))
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": ociManifest, "layers": layers,
		"config": described("application/vnd.oci.image.config.v1+json", config)}
	if c.edit != nil {
		c.edit(m)
	}
	raw := marshal(t, m)
	r.Put("app", tag, ociManifest, raw, append(c.layers, config)...)
	return described(ociManifest, raw)
}

func described(mediaType string, blob []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digestOf(blob), "size": len(blob)}
}

func digestOf(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// packed returns a layer of entries and its diffID.
func packed(t *testing.T, entries ...tar.Header) (blob []byte, diffID string) {
	t.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	for i := range entries {
		h := &entries[i]
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		h.Mode = 0o644
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes(), digestOf(plain.Bytes())
}

// TestHostileRegistry pulls what a registry may only send by mistake or malice. Each is refused in one line, and nothing of it stays: no
// image, no layer, no temporary file.
func TestHostileRegistry(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{})
	defer r.Close()
	s := shared.NewStore(t)
	good, goodID := packed(t, tar.Header{Name: "file", Typeflag: tar.TypeReg})
	other, otherID := packed(t, tar.Header{Name: "other", Typeflag: tar.TypeReg})
	well := crafted{[][]byte{good, other}, ociLayer, []string{goodID, otherID}, nil}

	well.put(t, r, "good")
	well.put(t, r, "endless")
	refused := map[string]string{"many": "the image has 501 layers, and storage mounts at most 500", "huge": "exceed", "size": "size", "negative": "has -1 bytes", "diff": "DiffID", "last": "igest", "fewer": "configuration tells of 2", "nested": "", "listed": "", "list": ""}
	c := well
	c.edit = func(m map[string]any) { m["annotations"] = map[string]string{"a": strings.Repeat("x", 5<<20)} }
	c.put(t, r, "huge")
	c.edit = func(m map[string]any) { m["layers"].([]any)[1].(map[string]any)["size"] = len(other) - 1 }
	c.put(t, r, "size")
	c.edit = func(m map[string]any) { m["layers"].([]any)[1].(map[string]any)["size"] = -1 }
	c.put(t, r, "negative")
	c.edit = func(m map[string]any) { m["layers"] = m["layers"].([]any)[:1] }
	c.put(t, r, "fewer")
	c.edit = nil
	c = crafted{slices.Repeat([][]byte{good}, 501), ociLayer, slices.Repeat([]string{goodID}, 501), nil}
	c.put(t, r, "many")
	c = well
	c.diffIDs = []string{goodID, goodID}
	c.put(t, r, "diff")
	third, thirdID := packed(t, tar.Header{Name: "third", Typeflag: tar.TypeReg})
	c = crafted{[][]byte{good, other, third}, ociLayer, []string{goodID, otherID, thirdID}, nil}
	c.put(t, r, "last")
	r.Corrupt("app", digestOf(third))
	index := func(tag string, members ...any) []byte {
		raw := marshal(t, map[string]any{"schemaVersion": 2, "mediaType": ociIndex, "manifests": members})
		r.Put("app", tag, ociIndex, raw)
		return raw
	}
	inner := index("listed", map[string]any{"mediaType": ociManifest, "digest": "sha256:" + strings.Repeat("0", 64), "size": 7})
	index("nested", described(ociIndex, inner))
	index("list", described(ociManifest, inner)) // an index that claims to be a manifest (CVE-2021-41190)

	for tag, want := range refused {
		pullRefused(t, s, r, tag, want)
	}
	if err := r.Inject(regtest.Endless, "GET", "/blobs/"+digestOf(other), 1); err != nil {
		t.Fatal(err)
	}
	pullRefused(t, s, r, "endless", "size")
	if err := r.Inject(regtest.Endless, "GET", "/manifests/", 1); err != nil {
		t.Fatal(err)
	}
	pullRefused(t, s, r, "endless", "")
	s.Slipway("pull", "-q", "--tls-verify=false", r.Host()+"/app:good")
	check(t, s)
}

// pullRefused pulls an image that must be refused, with a text in the message.
func pullRefused(t *testing.T, s *harness.Store, r *regtest.Registry, tag, want string) {
	t.Helper()
	r.Stats(true)
	out, msg, err := s.Try(s.Bin, "pull", "-q", "--tls-verify=false", "--retry-delay", "10ms", r.Host()+"/app:"+tag)
	if err == nil || out != "" || !strings.HasPrefix(msg, "Error: ") || strings.Count(msg, "\n") > 1 || !strings.Contains(msg, want) {
		t.Errorf("%s: %v, output %q, message %q", tag, err, out, msg)
	}
	if sent := r.Stats(false).BytesSent; sent > 64<<20 {
		t.Errorf("%s: %d bytes were read", tag, sent)
	}
	left := s.Slipway("images", "-a", "-q")
	for _, pattern := range []string{s.Root + "/overlay-layers/*.gz", s.Root + "/overlay/staging/*", s.Dir + "/tmp/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) > 0 {
			left += fmt.Sprint(files, err)
		}
	}
	if left != "" {
		t.Errorf("%s: left behind: %s", tag, left)
	}
}

// TestHostileNames pulls layers whose names lead out of the image: what they hold stays inside.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	harness.Need(t, "root")
	r := regtest.Start(regtest.Options{})
	defer r.Close()
	for _, driver := range []string{"overlay", "vfs"} {
		s := shared.NewStore(t)
		s.Extra = append(s.Extra, "STORAGE_DRIVER="+driver)
		outside := filepath.Join(s.Dir, "outside")
		if err := os.Mkdir(outside, 0o755); err != nil {
			t.Fatal(err)
		}
		blob, diffID := packed(t,
			tar.Header{Name: "../../../../../../../../../../" + outside + "/up", Typeflag: tar.TypeReg},
			tar.Header{Name: outside + "/absolute", Typeflag: tar.TypeReg},
			tar.Header{Name: "link", Linkname: outside, Typeflag: tar.TypeSymlink},
			tar.Header{Name: "link/through", Typeflag: tar.TypeReg},
			tar.Header{Name: "hard", Linkname: "link", Typeflag: tar.TypeLink},
		)
		c := crafted{[][]byte{blob}, ociLayer, []string{diffID}, nil}
		c.put(t, r, driver)
		_, msg, err := s.Try(s.Bin, "pull", "-q", "--tls-verify=false", r.Host()+"/app:"+driver)
		if err != nil && !strings.HasPrefix(msg, "Error: ") {
			t.Errorf("%v: %s", err, msg)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
			t.Errorf("%s: outside there are %v, %v", driver, entries, err)
		}
	}
}

// TestRedirect sees that blobs are fetched from where a registry sends us, without its credentials.
func TestRedirect(t *testing.T) {
	t.Parallel()
	r := regtest.Start(regtest.Options{User: "joe", Password: "secret"})
	defer r.Close()
	s := shared.NewStore(t)
	shared.Base(s, "base")
	s.Slipway("push", "-q", "--tls-verify=false", "--creds", "joe:secret", "base", r.Host()+"/app:1")
	s.Slipway("rmi", "-a", "-f")
	if err := r.Inject(regtest.Redirect, "GET", "/blobs/", 100); err != nil {
		t.Fatal(err)
	}
	s.Slipway("pull", "-q", "--tls-verify=false", "--creds", "joe:secret", r.Host()+"/app:1")
	if stats := r.Stats(false); stats.Redirected < 2 || stats.Leaked > 0 {
		t.Errorf("%d requests went to the other host, %d with credentials", stats.Redirected, stats.Leaked)
	}
}

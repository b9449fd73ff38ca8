package regtest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// call sends a request and returns status, headers and body.
func call(t *testing.T, c *http.Client, method, url, contentType, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(got)
}

func TestPushAndPull(t *testing.T) {
	t.Parallel()
	r := Start(Options{})
	defer r.Close()
	base := "http://" + r.Host() + "/v2/team/app"
	c := http.DefaultClient
	blob := strings.Repeat("layer", 100)
	digest := digestOf([]byte(blob))
	body := fmt.Sprintf(`{"layers":[{"digest":%q}]}`, digest)

	status, _, got := call(t, c, "PUT", base+"/manifests/v1", "application/x", body)
	if status != 400 || !strings.Contains(got, "MANIFEST_BLOB_UNKNOWN") {
		t.Fatalf("manifest before its blob: %d %s", status, got)
	}
	_, header, _ := call(t, c, "POST", base+"/blobs/uploads/", "", "")
	location := "http://" + r.Host() + header.Get("Location")
	if status, _, _ := call(t, c, "PATCH", location, "", blob[:10], "Content-Range", "0-9"); status != 202 {
		t.Fatalf("first chunk: %d", status)
	}
	if status, _, _ := call(t, c, "PATCH", location, "", blob[20:], "Content-Range", "20-30"); status != 416 {
		t.Fatalf("chunk out of order: %d", status)
	}
	if status, _, got := call(t, c, "PUT", location+"?digest="+digest, "", blob[10:]); status != 201 {
		t.Fatalf("last chunk: %d %s", status, got)
	}
	if status, _, _ := call(t, c, "PUT", base+"/manifests/v1", "application/x", body); status != 201 {
		t.Fatalf("manifest: %d", status)
	}
	for _, ref := range []string{"v1", digestOf([]byte(body))} {
		status, header, got := call(t, c, "GET", base+"/manifests/"+ref, "", "")
		if status != 200 || got != body || header.Get("Content-Type") != "application/x" {
			t.Errorf("manifest %s: %d %q %v", ref, status, got, header)
		}
	}
	if _, _, got := call(t, c, "GET", base+"/blobs/"+digest, "", ""); got != blob {
		t.Errorf("blob came back as %q", got)
	}
	if _, _, got := call(t, c, "GET", base+"/tags/list", "", ""); got != `{"name":"team/app","tags":["v1"]}` {
		t.Errorf("tags: %s", got)
	}
	other := "http://" + r.Host() + "/v2/other"
	if status, _, _ := call(t, c, "POST", other+"/blobs/uploads/?mount="+digest+"&from=team/app", "", ""); status != 201 {
		t.Errorf("mount: %d", status)
	}
	s := r.Stats(true)
	if s.BlobUploads != 1 || s.BlobMounts != 1 || s.BlobDownloads != 1 || s.ManifestPuts != 1 || s.ManifestGets != 2 {
		t.Errorf("counters: %+v", s)
	}
	if r.Stats(false) != (Stats{}) {
		t.Error("counters were not reset")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := Start(Options{})
	defer r.Close()
	base := "http://" + r.Host()
	wrong := "sha256:" + strings.Repeat("0", 64)
	tests := []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/v1/", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/nothing", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/a/manifests/latest", "", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/a/blobs/" + wrong, "", 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/a/tags/list", "", 404, "NAME_UNKNOWN"},
		{"PATCH", "/v2/a/blobs/uploads/none", "x", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"POST", "/v2/a/blobs/uploads/?digest=" + wrong, "x", 400, "DIGEST_INVALID"},
		{"PUT", "/v2/a/manifests/" + wrong, "{}", 400, "DIGEST_INVALID"},
		{"PUT", "/v2/a/manifests/v1", "not JSON", 400, "MANIFEST_INVALID"},
	}
	for _, tt := range tests {
		status, _, got := call(t, http.DefaultClient, tt.method, base+tt.path, "", tt.body)
		if status != tt.status || !strings.Contains(got, tt.code) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, status, got, tt.status, tt.code)
		}
	}
}

func TestAuthOverTLS(t *testing.T) {
	t.Parallel()
	r := Start(Options{User: "joe", Password: "secret", TLS: true})
	defer r.Close()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(r.CA()) {
		t.Fatal("the certificate is not PEM")
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	url := "https://" + r.Host() + "/v2/"
	if status, header, _ := call(t, c, "GET", url, "", ""); status != 401 || header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a password: %d %v", status, header)
	}
	// "joe:secret" and "joe:guess"
	if status, _, _ := call(t, c, "GET", url, "", "", "Authorization", "Basic am9lOnNlY3JldA=="); status != 200 {
		t.Errorf("with the password: %d", status)
	}
	if status, _, _ := call(t, c, "GET", url, "", "", "Authorization", "Basic am9lOmd1ZXNz"); status != 401 {
		t.Errorf("with a wrong password: %d", status)
	}
}

func TestCorrupt(t *testing.T) {
	t.Parallel()
	r := Start(Options{})
	defer r.Close()
	blob := []byte("content")
	digest := digestOf(blob)
	url := "http://" + r.Host() + "/v2/a/blobs/"
	call(t, http.DefaultClient, "POST", url+"uploads/?digest="+digest, "", string(blob))
	if r.Corrupt("a", "sha256:none") || !r.Corrupt("a", digest) {
		t.Fatal("the wrong blob was damaged")
	}
	if _, _, got := call(t, http.DefaultClient, "GET", url+digest, "", ""); bytes.Equal([]byte(got), blob) {
		t.Error("the blob is as it was")
	}
}

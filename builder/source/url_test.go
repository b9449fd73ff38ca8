package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// A download keeps the server's time, is checked, and refuses what is no answer.
func TestURL(t *testing.T) {
	t.Parallel()
	when := time.Unix(1_000_000_000, 0)
	mux := http.NewServeMux()
	mux.HandleFunc("/dir/file", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", when.UTC().Format(http.TimeFormat))
		_, _ = io.WriteString(w, "content")
	})
	mux.HandleFunc("/undated", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "content") })
	mux.HandleFunc("/gone", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "content")
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	sum := digest.FromString("content")
	for _, c := range []struct {
		path, name, fails string
		sum               digest.Digest
		mtime             int64
	}{
		{path: "/dir/file?x=1#y", name: "file", sum: sum, mtime: when.Unix()},
		{path: "/undated", name: "undated", mtime: 0},
		{path: "/undated", name: "undated", sum: digest.FromString("other"), fails: "digest mismatch " + sum.String() + ": " + digest.FromString("other").String()},
		{path: "/gone", fails: "invalid response status 410"},
		{path: "/short", name: "short", fails: "unexpected EOF"},
		{path: "/undated", sum: "sha256:zz", fails: "checksum"},
	} {
		in, body, err := fetch(srv.URL+c.path, URLOptions{Checksum: c.sum})
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: got %v, want %q", c.path, err, c.fails)
			}
			continue
		}
		if err != nil || body != "content" || in.Name != c.name || in.Mode != 0o600 || in.Mtime.Unix() != c.mtime {
			t.Errorf("%s: %+v %q %v", c.path, in, body, err)
		}
	}
	for url, want := range map[string]string{"http://h/": unnamed, "http://h": unnamed, "http://h/a/": "a", "http://h/a/..": unnamed, "http://h/a%20b": "a b"} {
		if got := Name(url); got != want {
			t.Errorf("%s: %q", url, got)
		}
	}
}

func fetch(url string, o URLOptions) (Opened, string, error) {
	src, err := URL(url, o)
	if err != nil {
		return Opened{}, "", err
	}
	in, err := src.Open(context.Background())
	if err != nil {
		return in, "", err
	}
	body, err := io.ReadAll(in.Body)
	return in, string(body), errors.Join(err, in.Close())
}

// Credentials go to the host they are for, not to where it redirects, and are in no message.
func TestURLCredentials(t *testing.T) {
	t.Parallel()
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization")+r.Header.Get("Referer"))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	first := ""
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first = r.Header.Get("Authorization")
		http.Redirect(w, r, elsewhere+"/x", http.StatusFound)
	}))
	defer srv.Close()
	if _, _, err := fetch(srv.URL+"/f", URLOptions{Authorization: "Bearer secret"}); err == nil || strings.Contains(err.Error(), "secret") || first != "Bearer secret" || len(seen) != 1 || seen[0] != "" {
		t.Errorf("%v, the server got %q, and the other %q", err, first, seen)
	}
	seen = nil
	_, _, err := fetch(strings.Replace(srv.URL, "://", "://user:secret@", 1)+"/f?token=secret", URLOptions{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error is %v", err)
	}
	if first == "" || len(seen) != 1 || strings.Contains(seen[0], "Basic") || strings.Contains(seen[0], "user") || strings.Contains(seen[0], "secret") {
		t.Errorf("sent %q, then %q", first, seen)
	}
}

// Only opening is tried again, through the function that is given.
func TestURLRetry(t *testing.T) {
	t.Parallel()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, "content")
	}))
	defer srv.Close()
	var failures []error
	retry := func(_ context.Context, f func() error) error {
		for {
			err := f()
			if err == nil {
				return nil
			}
			failures = append(failures, err)
		}
	}
	_, body, err := fetch(srv.URL+"/f", URLOptions{Retry: retry})
	var status StatusError
	if err != nil || body != "content" || len(failures) != 2 || !errors.As(failures[0], &status) || status != 502 {
		t.Errorf("%q %v after %v", body, err, failures)
	}
}

// What an earlier download is known by is sent back, and only what tells every change.
func TestRevalidate(t *testing.T) {
	t.Parallel()
	const date = "Tue, 15 Nov 1994 08:12:31 GMT"
	for _, tt := range []struct {
		answer    http.Header
		known     Known
		name, got string // the request's header
	}{
		{http.Header{"Etag": {`"a"`}, "Last-Modified": {"Mon, 14 Nov 1994 08:12:31 GMT"}}, Known{ETag: `"a"`, Modified: "Mon, 14 Nov 1994 08:12:31 GMT"}, "If-None-Match", `"a"`},
		{http.Header{"Etag": {`W/"a"`}}, Known{}, "If-None-Match", ""},
		{http.Header{"Last-Modified": {"Mon, 14 Nov 1994 08:12:31 GMT"}}, Known{Modified: "Mon, 14 Nov 1994 08:12:31 GMT"}, "If-Modified-Since", "Mon, 14 Nov 1994 08:12:31 GMT"},
		{http.Header{"Last-Modified": {"Tue, 15 Nov 1994 08:12:01 GMT"}}, Known{}, "If-Modified-Since", ""},
		{http.Header{"Last-Modified": {"yesterday"}}, Known{}, "If-Modified-Since", ""},
	} {
		tt.answer.Set("Date", date)
		got := validators(tt.answer)
		if got != tt.known {
			t.Errorf("%v: %+v", tt.answer, got)
		}
		ask := http.Header{}
		got.condition(ask)
		if ask.Get(tt.name) != tt.got {
			t.Errorf("%v: asked with %v", tt.answer, ask)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) }))
	defer server.Close()
	src, err := URL(server.URL+"/f", URLOptions{Known: &Known{ETag: `"a"`}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Open(context.Background()); !errors.Is(err, ErrUnchanged) {
		t.Errorf("a file that is unchanged: %v", err)
	}
	if src, err = URL(server.URL+"/f", URLOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Open(context.Background()); !errors.Is(err, StatusError(http.StatusNotModified)) { // to whom nothing is known it is no answer
		t.Errorf("unasked: %v", err)
	}
}

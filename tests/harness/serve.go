package harness

import (
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// serve is "serve [-auth HEADER] DIR": a web server on the loopback for the files below DIR, and for the Git repositories
// among them; with -auth only for who sends that as Authorization. $SERVER is its host.
func serve(ts *testscript.TestScript, args []string) error {
	auth := ""
	if len(args) == 3 && args[0] == "-auth" {
		auth, args = args[1], args[2:]
	}
	if len(args) != 1 {
		return errors.New("usage: serve [-auth HEADER] DIR")
	}
	dir := ts.MkAbs(args[0])
	files := http.FileServer(http.Dir(dir))
	var git http.Handler = files
	if path, err := exec.LookPath("git"); err == nil {
		git = &cgi.Handler{Path: path, Args: []string{"http-backend"}, Dir: dir, Stderr: os.Stderr,
			Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth != "" && r.Header.Get("Authorization") != auth {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if strings.Contains(r.URL.Path, ".git/") {
			git.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	}))
	ts.Defer(server.Close)
	ts.Setenv("SERVER", strings.TrimPrefix(server.URL, "http://"))
	return nil
}

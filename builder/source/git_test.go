package source

import (
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/tests/harness"
)

func TestIsGit(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]bool{
		"git://h/r": true, "ssh://git@h/r": true, "git@h:r": true, "https://h/r.git": true, "https://h/r.git#v1:sub": true, "http://h/r.git?ref=x": true,
		"https://h/r": false, "https://h/r?x=.git": false, "./git@h:r": false, "../x": false, "github.com/o/r": false, "file:///r.git": false,
		"a@b": false, "ext::sh -c x": false, "git@-oProxyCommand=x:r": false, "dir/a@b:c": false,
	} {
		if got := IsGit(word); got != want {
			t.Errorf("%s: %v", word, got)
		}
	}
}

func TestParseGit(t *testing.T) {
	t.Parallel()
	yes := true
	for word, want := range map[string]GitRef{
		"https://h/r.git":                                       {Remote: "https://h/r.git"},
		"https://h/r.git#v1":                                    {Remote: "https://h/r.git", Ref: "v1"},
		"https://h/r.git#:a/../../b":                            {Remote: "https://h/r.git", Subdir: "b"},
		"git@h:o/r.git#x/y:sub/dir":                             {Remote: "git@h:o/r.git", Ref: "x/y", Subdir: "sub/dir"},
		"https://h/r.git?tag=v1&subdir=s":                       {Remote: "https://h/r.git", Ref: "refs/tags/v1", Subdir: "s"},
		"https://h/r.git?branch=b&mtime=commit":                 {Remote: "https://h/r.git", Ref: "refs/heads/b", CommitTime: true},
		"https://h/r.git?ref=v1&keep-git-dir=1&submodules=true": {Remote: "https://h/r.git", Ref: "v1", KeepDir: &yes, Submodules: &yes},
		"ssh://git@h:22/r?commit=0123456":                       {Remote: "ssh://git@h:22/r", Commit: "0123456"},
	} {
		got, err := ParseGit(word)
		if err != nil {
			t.Errorf("%s: %v", word, err)
			continue
		}
		if got.Remote != want.Remote || got.Ref != want.Ref || got.Subdir != want.Subdir || got.Commit != want.Commit ||
			got.CommitTime != want.CommitTime || (got.KeepDir == nil) != (want.KeepDir == nil) || (got.Submodules == nil) != (want.Submodules == nil) {
			t.Errorf("%s: got %+v, want %+v", word, *got, want)
		}
	}
	for word, want := range map[string]string{
		"https://h/r.git?x=1":               `unexpected query "x"`,
		"https://h/r.git?ref=a#b":           "ref conflicts",
		"https://h/r.git?branch=b&tag=t":    "con", // branch conflicts with tag, or ref conflicts, as they come
		"https://h/r.git?ref=a&ref=b":       `query "ref" has multiple values`,
		"https://h/r.git?commit=xyz":        "invalid commit id",
		"https://h/r.git#--upload-pack=x":   "invalid ref",
		"https://h/r.git#a..b":              "invalid ref",
		"https://h/r.git#a b":               "invalid ref",
		"git@-oProxyCommand=x:r":            "could be taken for an option",
		"ssh://-oProxyCommand=x/r":          "could be taken for an option",
		"ssh://h/-r":                        "could be taken for an option",
		"https://user:secret@h/r.git?x=1":   "https://h/r.git",
		"git:///r":                          "names no host",
		"https://h/r.git?keep-git-dir=what": "invalid keep-git-dir value",
	} {
		_, err := ParseGit(word)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", word, err, want)
		}
	}
}

func FuzzParseGit(f *testing.F) {
	for _, s := range []string{"https://h/r.git#a:b", "git@h:r?ref=a", "ssh://-o/r", "git://h/r?tag=%2d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if !IsGit(word) {
			return
		}
		g, err := ParseGit(word)
		if err != nil {
			return
		}
		for _, arg := range []string{g.Remote, g.Ref, g.Commit} {
			if strings.HasPrefix(arg, "-") || strings.ContainsAny(arg, " \n\x00") {
				t.Fatalf("%q makes an option or two words of %q", word, arg)
			}
		}
		if strings.HasPrefix(g.Subdir, "../") || g.Subdir == ".." {
			t.Fatalf("%q leaves by %q", word, g.Subdir)
		}
	})
}

// gitServer serves repositories by HTTP with git's own program.
func gitServer(t *testing.T) (url, dir string) {
	t.Helper()
	harness.Need(t, "git")
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil && !harness.Required() {
		t.Skip("git-http-backend is not installed")
	}
	dir = t.TempDir()
	serve := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); strings.HasPrefix(r.URL.Path, "/private") && (user != "joe" || password != "se/cret") {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, dir
}

// Credentials of the URL are used, also for a submodule on the same host, and are neither in what is kept nor in messages.
func TestGitCredentials(t *testing.T) {
	t.Parallel()
	server, dir := gitServer(t)
	repository(t, dir, "private-lib")
	repository(t, dir, "private")
	repo := filepath.Join(dir, "private.git")
	git(t, repo, "submodule", "--quiet", "add", "../private-lib.git", "lib")
	git(t, repo, "config", "-f", ".gitmodules", "submodule.lib.url", "../private-lib.git")
	git(t, repo, "commit", "-qam", "lib")
	keep := true
	o, open := gitOptions(t)
	o.KeepDir = &keep
	for user, works := range map[string]bool{"joe:se%2Fcret@": true, "joe:wrong@": false, "": false} {
		g, err := Git(strings.Replace(server, "://", "://"+user, 1)+"/private.git", o)
		if err != nil {
			t.Fatal(err)
		}
		in, err := g.Open(context.Background())
		if err != nil && (works || strings.Contains(err.Error(), "wrong")) || err == nil && !works {
			t.Errorf("%s: %v", user, err)
		}
		if err != nil {
			continue
		}
		if got := listing(t, in.Root); !strings.Contains(got, "lib/file=two") {
			t.Errorf("no submodule in %s", got)
		}
		if out, _ := exec.Command("grep", "-rE", "joe|cret", in.Root.Name()).Output(); len(out) > 0 {
			t.Errorf("kept: %s", out)
		}
		if err := in.Close(); err != nil {
			t.Error(err)
		}
	}
	if *open != 0 {
		t.Errorf("%d clones are left", *open)
	}
}

// git runs git for making what is served.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(gitEnv(cmd.Environ()), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		"GIT_AUTHOR_DATE=1000000000 +0000", "GIT_COMMITTER_DATE=1000000000 +0000", "GIT_ALLOW_PROTOCOL=file:http")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes NAME.git with two commits, the first with tag v1, and returns their ids.
func repository(t *testing.T, dir, name string) (first, second string) {
	t.Helper()
	repo := filepath.Join(dir, name+".git")
	git(t, dir, "init", "-q", "-b", "main", repo)
	write := func(file, text string, mode os.FileMode) {
		p := filepath.Join(repo, file)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("file", "one", 0o644)
	write("sub/run", "#!", 0o755)
	if err := os.Symlink("../../../outside", filepath.Join(repo, "sub/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(repo, "root")); err != nil {
		t.Fatal(err)
	}
	git(t, repo, "add", ".")
	git(t, repo, "commit", "-qm", "one")
	git(t, repo, "tag", "-am", "one", "v1")
	write("file", "two", 0o644)
	git(t, repo, "commit", "-qam", "two")
	return git(t, repo, "rev-parse", "HEAD^"), git(t, repo, "rev-parse", "HEAD")
}

func gitOptions(t *testing.T) (GitOptions, *int) {
	t.Helper()
	open := 0
	return GitOptions{Scratch: func() (string, func() error, error) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		open++
		return dir, func() error { open--; return os.RemoveAll(dir) }, err
	}}, &open
}

// listing is the names below a root, in order, with the first bytes of files.
func listing(t *testing.T, r *rootfs.Root) string {
	t.Helper()
	var list []string
	var walk func(d *rootfs.Dir, at string)
	walk = func(d *rootfs.Dir, at string) {
		names, err := d.ReadDir()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			i, err := d.Lstat(n)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case n == ".git":
				list = append(list, at+n)
			case i.IsDir():
				sub, err := d.Dir(n)
				if err != nil {
					t.Fatal(err)
				}
				walk(sub, at+n+"/")
				sub.Close()
			case i.IsRegular():
				b, _ := r.ReadFile(at+n, 100)
				list = append(list, at+n+"="+string(b))
			default:
				list = append(list, at+n+"@")
			}
		}
	}
	d, err := r.Dir("/")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	walk(d, "")
	sort.Strings(list)
	return strings.Join(list, " ")
}

func TestGit(t *testing.T) {
	t.Parallel()
	url, dir := gitServer(t)
	first, second := repository(t, dir, "r")
	repository(t, dir, "sub")
	git(t, filepath.Join(dir, "r.git"), "checkout", "-qb", "mod")
	git(t, filepath.Join(dir, "r.git"), "submodule", "--quiet", "add", url+"/sub.git", "mod")
	git(t, filepath.Join(dir, "r.git"), "commit", "-qm", "mod")
	git(t, filepath.Join(dir, "r.git"), "checkout", "-q", "main")
	no := false
	yes := true
	for _, c := range []struct {
		word, want, fails string
		keep              *bool
		commit            string
	}{
		{word: "", want: "file=two root@ sub/link@ sub/run=#!"},
		{word: "#main", want: "file=two root@ sub/link@ sub/run=#!", commit: second},
		{word: "#v1", want: "file=one root@ sub/link@ sub/run=#!", commit: first[:10]},
		{word: "#refs/tags/v1:sub", want: "link@ run=#!"},
		{word: "#" + first, want: "file=one root@ sub/link@ sub/run=#!"},
		{word: "#" + first[:12], want: "file=one root@ sub/link@ sub/run=#!"},
		{word: "?commit=" + second, want: "file=two root@ sub/link@ sub/run=#!"},
		{word: "?keep-git-dir=true", want: ".git file=two root@ sub/link@ sub/run=#!"},
		{word: "", keep: &yes, want: ".git file=two root@ sub/link@ sub/run=#!"},
		{word: "#:root/etc", fails: "is not a directory of the repository"},
		{word: "#:root", fails: "is not a directory of the repository"},
		{word: "#:file", fails: "is not a directory"},
		{word: "#nope", fails: "find remote ref nope"},
		{word: "", commit: first, want: "file=one root@ sub/link@ sub/run=#!"},
		{word: "#main", commit: first[:12], fails: "expected commit " + first[:12]},
		{word: "#mod", want: ".gitmodules=* file=two mod/file=two mod/root@ mod/sub/link@ mod/sub/run=#! root@ sub/link@ sub/run=#!"},
		{word: "?branch=mod&submodules=false", want: ".gitmodules=* file=two root@ sub/link@ sub/run=#!"},
		{word: "?keep-git-dir=true", keep: &no, fails: "inconsistent keep-git-dir configuration"},
	} {
		o, open := gitOptions(t)
		o.KeepDir, o.Commit = c.keep, c.commit
		got, err := func() (string, error) {
			g, err := Git(url+"/r.git"+c.word, o)
			if err != nil {
				return "", err
			}
			in, err := g.Open(context.Background())
			if err != nil {
				return "", err
			}
			text := listing(t, in.Root)
			return text, in.Close()
		}()
		if i := strings.Index(got, ".gitmodules="); i >= 0 {
			got = got[:i] + ".gitmodules=*" + got[i+strings.Index(got[i:], " file="):]
		}
		if c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) || c.fails == "" && err != nil || got != c.want {
			t.Errorf("%q: got %q, %v; want %q, %q", c.word, got, err, c.want, c.fails)
		}
		if *open != 0 {
			t.Errorf("%q: %d clones are left", c.word, *open)
		}
	}
}

// What Pin says before anything is fetched is what Open then gives.
func TestGitPin(t *testing.T) {
	t.Parallel()
	url, dir := gitServer(t)
	first, second := repository(t, dir, "r")
	for word, want := range map[string]string{"": second, "#v1": first, "#main": second, "#" + first: first} {
		o, _ := gitOptions(t)
		g, err := Git(url+"/r.git"+word, o)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.Pin(context.Background()); err != nil || !strings.HasPrefix(got, "git "+want+" ") {
			t.Errorf("%q: %q %v", word, got, err)
		}
		git(t, filepath.Join(dir, "r.git"), "commit", "-q", "--allow-empty", "-m", "moved")
		in, err := g.Open(context.Background())
		if err != nil {
			t.Errorf("%q, moved since: %v", word, err)
			continue
		}
		in.Close()
		git(t, filepath.Join(dir, "r.git"), "reset", "-q", "--hard", second)
	}
}

// A submodule may not name a local repository, and none of the caller's configuration is used.
func TestGitHostile(t *testing.T) {
	t.Parallel()
	url, dir := gitServer(t)
	repository(t, dir, "r")
	repo := filepath.Join(dir, "r.git")
	secret := t.TempDir()
	repository(t, secret, "local")
	git(t, repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "file://"+secret+"/local.git", "mod")
	git(t, repo, "commit", "-qm", "mod")
	o, open := gitOptions(t)
	g, err := Git(url+"/r.git", o)
	if err != nil {
		t.Fatal(err)
	}
	in, err := g.Open(context.Background())
	if err == nil {
		t.Fatalf("a local repository was cloned: %s", listing(t, in.Root))
	}
	if !strings.Contains(err.Error(), "failed while performing `git submodule`") || strings.Contains(err.Error(), "\n") || *open != 0 {
		t.Errorf("%v, %d left", err, *open)
	}
}

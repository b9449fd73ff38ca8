package source

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// A GitRef is what a word says about a repository (dockerfile.md §6.9).
type GitRef struct {
	// Remote is what git is given: a URL of an allowed protocol, or user@host:path.
	Remote string
	// Ref is a branch, tag, full ref or commit; empty is the remote's HEAD.
	Ref string
	// Subdir is the directory that is copied, empty for all of it.
	Subdir string
	// Commit, if set, is a commit id or the beginning of one that the ref must be.
	Commit string
	// KeepDir and Submodules are nil where the word says nothing of them.
	KeepDir, Submodules *bool
	// CommitTime gives every file the time of the commit.
	CommitTime bool
}

// scpLike is user@host:path, the host no option of ssh.
var scpLike = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.+-]+@[A-Za-z0-9_.-]+:[^:]`) })

// IsGit tells whether a source word names a Git repository: git:// and ssh://, user@host:path, and http(s) with a
// path that ends in ".git".
func IsGit(word string) bool {
	if strings.HasPrefix(word, "./") || strings.HasPrefix(word, "../") {
		return false
	}
	scheme, rest, ok := strings.Cut(word, "://")
	if !ok {
		return scpLike().MatchString(word)
	}
	switch strings.ToLower(scheme) {
	case "git", "ssh":
		return true
	case "http", "https":
		return strings.HasSuffix(rest[:endOfPath(rest)], ".git")
	}
	return false
}

func endOfPath(s string) int {
	if i := strings.IndexAny(s, "?#"); i >= 0 {
		return i
	}
	return len(s)
}

// ParseGit reads a word that IsGit is true of.
func ParseGit(word string) (*GitRef, error) {
	g := &GitRef{}
	end := endOfPath(word)
	g.Remote = word[:end]
	rest, fragment, _ := strings.Cut(word[end:], "#")
	g.Ref, g.Subdir, _ = strings.Cut(fragment, ":")
	query, err := url.ParseQuery(strings.TrimPrefix(rest, "?"))
	if err == nil {
		err = g.query(query)
	}
	if err == nil {
		err = g.check()
	}
	if err != nil {
		return nil, fmt.Errorf("git source %s: %w", g, err)
	}
	return g, nil
}

// String is the remote and ref without credentials.
func (g *GitRef) String() string {
	text := g.Remote
	if u, err := url.Parse(text); err == nil && u.User != nil {
		if _, secret := u.User.Password(); secret || u.Scheme != "ssh" {
			u.User = nil // a token may be all there is, as the name
		}
		text = u.String()
	}
	if g.Ref != "" {
		text += "#" + g.Ref
	}
	return text
}

func (g *GitRef) query(q url.Values) error {
	for key, values := range q {
		if len(values) > 1 {
			return fmt.Errorf("query %q has multiple values", key)
		}
		v := values[0]
		if v == "" && key != "submodules" && key != "keep-git-dir" {
			return fmt.Errorf("query %q has no value", key)
		}
		if err := g.option(key, v, q); err != nil {
			return err
		}
	}
	return nil
}

func (g *GitRef) option(key, v string, q url.Values) (err error) {
	switch key {
	case "ref":
		return set(&g.Ref, v, "ref")
	case "tag":
		return set(&g.Ref, "refs/tags/"+strings.TrimPrefix(v, "refs/tags/"), "ref")
	case "branch":
		if q.Has("tag") {
			return errors.New("branch conflicts with tag")
		}
		return set(&g.Ref, "refs/heads/"+strings.TrimPrefix(v, "refs/heads/"), "ref")
	case "subdir":
		return set(&g.Subdir, v, "subdir")
	case "checksum", "commit":
		return set(&g.Commit, v, key)
	case "keep-git-dir":
		g.KeepDir, err = boolean(key, v)
	case "submodules":
		g.Submodules, err = boolean(key, v)
	case "mtime":
		if v != "checkout" && v != "commit" {
			return fmt.Errorf("invalid mtime value: %q", v)
		}
		g.CommitTime = v == "commit"
	case "fetch-by-commit":
		_, err = boolean(key, v) // how a commit is fetched is found out by trying
	default:
		return fmt.Errorf("unexpected query %q", key)
	}
	return err
}

func set(field *string, v, what string) error {
	if *field != "" && *field != v {
		return fmt.Errorf("%s conflicts: %q vs %q", what, *field, v)
	}
	*field = v
	return nil
}

func boolean(key, v string) (*bool, error) {
	b := v == ""
	if !b {
		var err error
		if b, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("invalid %s value: %q", key, v)
		}
	}
	return &b, nil
}

// isCommit tells whether a word is a commit's ID or a beginning of one that Git takes.
func isCommit(word string) bool {
	return len(word) >= 7 && len(word) <= 64 && strings.Trim(word, "0123456789abcdef") == ""
}

// check refuses what git or ssh would take for an option or for something else than a name (CVE-2017-1000117 and its
// relatives), and protocols that run programs or read local files.
func (g *GitRef) check() error {
	if err := g.checkRemote(); err != nil {
		return err
	}
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) }
	if strings.HasPrefix(g.Ref, "-") || strings.Contains(g.Ref, "..") || strings.IndexFunc(g.Ref, bad) >= 0 || strings.Contains(g.Ref, "@{") {
		return fmt.Errorf("invalid ref %q", g.Ref)
	}
	if g.Commit != "" && !isCommit(g.Commit) {
		return fmt.Errorf("invalid commit id %q", g.Commit)
	}
	if g.Subdir = path.Clean("/" + g.Subdir)[1:]; strings.Contains(g.Subdir, "\x00") {
		return errors.New("invalid subdirectory")
	}
	return nil
}

func (g *GitRef) checkRemote() error {
	if strings.ContainsFunc(g.Remote, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return errors.New("invalid URL")
	}
	if !strings.Contains(g.Remote, "://") {
		user, rest, _ := strings.Cut(g.Remote, "@")
		host, dir, _ := strings.Cut(rest, ":")
		return noOptions(user, host, dir)
	}
	u, err := url.Parse(g.Remote)
	if err != nil {
		return errors.New("invalid URL")
	}
	switch u.Scheme {
	case "git", "ssh", "http", "https":
	default:
		return fmt.Errorf("protocol %q is not allowed", u.Scheme)
	}
	if u.Hostname() == "" {
		return errors.New("the URL names no host")
	}
	return noOptions(u.User.Username(), u.Hostname(), strings.TrimPrefix(u.Path, "/"))
}

func noOptions(words ...string) error {
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			return fmt.Errorf("invalid URL: %q could be taken for an option", w)
		}
	}
	return nil
}

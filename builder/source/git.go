package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/copier/rootfs"
)

// GitOptions controls a clone.
type GitOptions struct {
	// Scratch makes an empty directory for the clone and says how to remove it.
	Scratch func() (dir string, done func() error, err error)
	// KeepDir and Commit are the flags --keep-git-dir and --checksum; nil and empty say nothing.
	KeepDir *bool
	Commit  string
	// CommitTime gives every file the time of the commit, as the URL may ask too.
	CommitTime bool
	// Authorization, if set, is the header of that name for the URL's host.
	Authorization string
	// Environ is the environment that git's is made of ("K=V"); nil is this process's.
	Environ []string
}

// A GitSource is the content of a repository at one commit: files 0644 or 0755, directories 0755, without ".git" unless
// that is asked for (dockerfile.md §6.9).
type GitSource struct {
	ref    *GitRef
	keep   bool
	o      GitOptions
	pinned bool // the commit is what the ref was
	// committed is the time of the commit that was cloned.
	committed time.Time
}

// Git is the repository that a word names. Nothing is fetched yet.
func Git(word string, o GitOptions) (*GitSource, error) {
	ref, err := ParseGit(word)
	if err != nil {
		return nil, err
	}
	if o.Commit != "" {
		if !isCommit(o.Commit) {
			return nil, fmt.Errorf("git source %s: invalid commit id %q", ref, o.Commit)
		}
		if err := set(&ref.Commit, o.Commit, "checksum"); err != nil {
			return nil, fmt.Errorf("git source %s: %w", ref, err)
		}
	}
	ref.CommitTime = ref.CommitTime || o.CommitTime
	g := &GitSource{ref: ref, o: o}
	switch {
	case o.KeepDir != nil && ref.KeepDir != nil && *o.KeepDir != *ref.KeepDir:
		return nil, fmt.Errorf("git source %s: inconsistent keep-git-dir configuration", ref)
	case o.KeepDir != nil:
		g.keep = *o.KeepDir
	case ref.KeepDir != nil:
		g.keep = *ref.KeepDir
	}
	return g, nil
}

func (g *GitSource) String() string { return g.ref.String() }

// Committed is the time of the commit, after Clone.
func (g *GitSource) Committed() time.Time { return g.committed }

// Pin asks the remote which commit is meant, and stays with that one. With it, everything that decides the content is
// known before anything is fetched; it returns a text of that.
func (g *GitSource) Pin(ctx context.Context) (string, error) {
	commit := g.ref.Ref
	if g.pinned || commit == "" && len(g.ref.Commit) >= 40 {
		commit = g.ref.Commit // with a ref beside it that must be the same
	}
	if len(commit) < 40 || !isCommit(commit) {
		name := g.ref.Ref
		if name == "" {
			name = "HEAD"
		}
		out, err := g.git(ctx, "", "ls-remote", "--quiet", "--", g.remote(), name, name+"^{}")
		if err != nil {
			return "", err
		}
		if commit = pick(string(out), name); commit == "" {
			return "", nil // an abbreviated commit, perhaps: known when it is fetched
		}
	}
	if !strings.HasPrefix(commit, g.ref.Commit) {
		return "", fmt.Errorf("git source %s: expected commit %s, got %s", g, g.ref.Commit, commit)
	}
	g.ref.Commit, g.pinned = commit, true
	return strings.Join([]string{"git", commit, g.ref.Subdir, strconv.FormatBool(g.keep), strconv.FormatBool(g.submodules()), strconv.FormatBool(g.ref.CommitTime)}, " "), nil
}

// pick chooses among the refs that ls-remote lists, in git's own order; a tag counts as what it points to.
func pick(list, name string) string {
	found := map[string]string{}
	for _, line := range strings.Split(list, "\n") {
		if id, ref, ok := strings.Cut(line, "\t"); ok && isCommit(id) {
			found[ref] = id
		}
	}
	for _, ref := range []string{name, "refs/" + name, "refs/tags/" + name, "refs/heads/" + name} {
		if id := found[ref+"^{}"]; id != "" {
			return id
		}
		if id := found[ref]; id != "" {
			return id
		}
	}
	return ""
}

func (g *GitSource) submodules() bool { return g.ref.Submodules == nil || *g.ref.Submodules }

// Open clones the repository. The clone is removed by the Close of what is returned.
func (g *GitSource) Open(ctx context.Context) (Opened, error) {
	dir, done, err := g.o.Scratch()
	if err != nil {
		return Opened{}, err
	}
	dir = filepath.Join(dir, "clone")
	if err := g.Clone(ctx, dir); err != nil {
		return Opened{}, errors.Join(err, done())
	}
	root, err := rootfs.Open(filepath.Join(dir, g.ref.Subdir), rootfs.Apply)
	if err != nil {
		return Opened{}, errors.Join(err, done())
	}
	return Opened{Root: root, Patterns: []string{"."}, Close: func() error { return errors.Join(root.Close(), done()) }}, nil
}

// Subdir is the directory below the root of the repository that is meant, empty for all of it.
func (g *GitSource) Subdir() string { return g.ref.Subdir }

// Clone fetches the repository into dir, which is made. Subdir is a directory there when it returns.
func (g *GitSource) Clone(ctx context.Context, dir string) error {
	if g.ref.Ref != "" && g.ref.Commit != "" {
		if _, err := g.Pin(ctx); err != nil {
			return err
		}
	}
	if _, err := g.git(ctx, "", "init", "--quiet", "--template=", "--", dir); err != nil {
		return err
	}
	if _, err := g.git(ctx, dir, "remote", "add", "origin", g.remote()); err != nil { // what relative submodules are relative to
		return err
	}
	commit, err := g.fetch(ctx, dir)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(commit, g.ref.Commit) {
		return fmt.Errorf("git source %s: expected commit %s, got %s", g, g.ref.Commit, commit)
	}
	if _, err := g.git(ctx, dir, "checkout", "--quiet", "--force", "--detach", commit); err != nil {
		return err
	}
	root, err := rootfs.Open(dir, rootfs.Apply)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(".gitmodules"); err == nil && g.submodules() {
		if _, err := g.git(ctx, dir, "submodule", "--quiet", "update", "--init", "--recursive"); err != nil {
			return err
		}
	}
	if err := g.tidy(ctx, root, dir, commit); err != nil {
		return err
	}
	return g.checkSubdir(root)
}

// checkSubdir refuses a subdirectory that is none, or that is reached through a link (GHSA-4vrq-3vrq-g6gg).
func (g *GitSource) checkSubdir(root *rootfs.Root) error {
	at := ""
	for _, part := range strings.Split(g.ref.Subdir, "/") {
		at = path.Join(at, part)
		if i, err := root.Lstat(at); err != nil || !i.IsDir() {
			return fmt.Errorf("git source %s: %q is not a directory of the repository", g, g.ref.Subdir)
		}
	}
	return nil
}

// fetch gets the commit that is wanted, with as little history as the server can give, and returns its id.
func (g *GitSource) fetch(ctx context.Context, dir string) (string, error) {
	want := g.ref.Ref
	if len(g.ref.Commit) >= 40 {
		want = g.ref.Commit
	}
	if want == "" {
		want = "HEAD"
	}
	_, err := g.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--depth=1", "--", g.remote(), want)
	if err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "shallow") { // a server of plain files
		_, err = g.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--", g.remote(), want)
	}
	if err == nil {
		return g.commit(ctx, dir, "FETCH_HEAD")
	}
	if ctx.Err() != nil || !isCommit(want) {
		return "", err
	}
	// A commit that is no tip, or abbreviated: everything, then.
	if _, aerr := g.git(ctx, dir, "fetch", "--quiet", "--no-tags", "--", g.remote(), "+refs/*:refs/remote/*"); aerr != nil {
		return "", err
	}
	commit, cerr := g.commit(ctx, dir, want)
	if cerr != nil {
		return "", err
	}
	return commit, nil
}

func (g *GitSource) commit(ctx context.Context, dir, rev string) (string, error) {
	out, err := g.git(ctx, dir, "rev-parse", "--quiet", "--verify", "--end-of-options", rev+"^{commit}")
	return strings.TrimSpace(string(out)), err
}

// git runs git. Nothing of the caller's configuration counts but how to reach ssh servers and proxies: no hooks, no filters,
// no rewritten URLs. Protocols that run programs (ext) or read local files are refused, also for submodules (CVE-2022-39253).
func (g *GitSource) git(ctx context.Context, dir, verb string, args ...string) ([]byte, error) {
	config := []string{
		"protocol.allow=never", "protocol.http.allow=always", "protocol.https.allow=always", "protocol.ssh.allow=always", "protocol.git.allow=always",
		"core.hooksPath=/dev/null", "core.fsmonitor=false", "init.defaultBranch=main", "advice.detachedHead=false",
		"gc.auto=0", "credential.helper=",
	}
	var full []string
	for _, c := range config {
		full = append(full, "-c", c)
	}
	cmd := exec.CommandContext(ctx, "git", append(append(full, verb), args...)...)
	cmd.Dir = dir
	if dir == "" {
		cmd.Dir = "/"
	}
	if cmd.Env = gitEnv(g.o.Environ); g.o.Environ == nil {
		cmd.Env = gitEnv(cmd.Environ())
	}
	cmd.Env = append(cmd.Env, g.credentials()...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("git source %s: the program git is not installed", g)
		}
		return nil, fmt.Errorf("git source %s: failed while performing `git %s`: %w: %s", g, verb, err, g.quiet(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// remote is the URL without what is secret of it: git writes it into the clone, and others see it among a process's arguments.
func (g *GitSource) remote() string {
	u, err := url.Parse(g.ref.Remote)
	if err != nil || u.User == nil || u.Scheme != "http" && u.Scheme != "https" {
		return g.ref.Remote
	}
	u.User = nil
	return u.String()
}

// credentials is the environment that makes git use the URL's user and password, or a header, for its host, also for submodules there.
func (g *GitSource) credentials() []string {
	u, err := url.Parse(g.ref.Remote)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	host := url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/"}
	switch {
	case u.User != nil:
		with := url.URL{Scheme: u.Scheme, User: u.User, Host: u.Host, Path: "/"}
		return []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url." + with.String() + ".insteadOf", "GIT_CONFIG_VALUE_0=" + host.String()}
	case g.o.Authorization != "":
		return []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=http." + host.String() + ".extraHeader", "GIT_CONFIG_VALUE_0=Authorization: " + g.o.Authorization}
	}
	return nil
}

// quiet makes one line of what git says, without the credentials of the URL.
func (g *GitSource) quiet(text string) string {
	text = strings.ReplaceAll(text, g.ref.Remote, (&GitRef{Remote: g.ref.Remote}).String())
	if u, err := url.Parse(g.ref.Remote); err == nil && u.User != nil {
		text = strings.ReplaceAll(text, u.User.String()+"@", "")
	}
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func gitEnv(env []string) []string {
	var kept []string
	for _, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		switch {
		case !strings.HasPrefix(key, "GIT_"), key == "GIT_SSH", key == "GIT_SSH_COMMAND", key == "GIT_SSL_CAINFO", key == "GIT_PROXY_COMMAND":
			kept = append(kept, kv)
		}
	}
	return append(kept, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=http:https:ssh:git", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C")
}

// tidy gives what was checked out the modes that git means, whatever the umask, and removes ".git" at every level.
func (g *GitSource) tidy(ctx context.Context, root *rootfs.Root, dir, commit string) error {
	out, err := g.git(ctx, dir, "show", "--no-patch", "--format=%ct", commit)
	if err != nil {
		return err
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return fmt.Errorf("git source %s: time of %s: %w", g, commit, err)
	}
	g.committed = time.Unix(sec, 0)
	var mtime *time.Time
	if g.ref.CommitTime {
		mtime = &g.committed
	}
	d, err := root.Dir("/")
	if err != nil {
		return err
	}
	defer d.Close()
	return g.tidyDir(d, mtime)
}

func (g *GitSource) tidyDir(d *rootfs.Dir, mtime *time.Time) error {
	entries, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, name := range entries {
		if name == ".git" {
			if !g.keep {
				err = d.RemoveAll(name)
			}
		} else {
			err = g.tidyEntry(d, name, mtime)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if mtime != nil {
		return d.Utimes(".", *mtime)
	}
	return nil
}

func (g *GitSource) tidyEntry(d *rootfs.Dir, name string, mtime *time.Time) error {
	i, err := d.Lstat(name)
	if err != nil {
		return err
	}
	switch {
	case i.IsDir():
		sub, err := d.Dir(name)
		if err != nil {
			return err
		}
		defer sub.Close()
		if err := sub.Chmod(".", 0o755); err != nil {
			return err
		}
		return g.tidyDir(sub, mtime)
	case i.IsRegular() && i.Perm()&0o100 != 0:
		err = d.Chmod(name, 0o755)
	case i.IsRegular():
		err = d.Chmod(name, 0o644)
	}
	if err == nil && mtime != nil {
		err = d.Utimes(name, *mtime)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path.Join(d.Name(), name), err)
	}
	return nil
}

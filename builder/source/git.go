package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Git is a place in a Git repository.
type Git struct {
	// Repository is its URL, without fragment and query, or scp-like.
	Repository string
	// Ref is a branch, a tag or a full commit ID; empty is the remote's HEAD.
	Ref string
	// Subdir is a directory below the root of the repository; empty is the root.
	Subdir string
}

// scpLike is user@host:path.
var scpLike = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]*@[a-zA-Z0-9][a-zA-Z0-9.-]*:[^:]`)

// ParseGit reads a Git URL (dockerfile.md §6.9): git:// and ssh://, user@host:path, and http(s):// whose path ends in .git; behind
// "#" REF[:SUBDIR], or the query keys ref, branch, tag and subdir. ok is false for what is none.
func ParseGit(text string) (g Git, ok bool, err error) {
	base, fragment, _ := strings.Cut(text, "#")
	if scpLike.MatchString(base) && !strings.Contains(base, "://") {
		g.Repository = base
	} else {
		u, perr := url.Parse(base)
		if perr != nil {
			return g, false, nil
		}
		web := u.Scheme == "http" || u.Scheme == "https"
		if u.Scheme != "git" && u.Scheme != "ssh" && (!web || !strings.HasSuffix(u.Path, ".git")) {
			return g, false, nil
		}
		if err := g.query(u.Query()); err != nil {
			return g, true, err
		}
		u.RawQuery = ""
		g.Repository = u.String()
	}
	ref, sub, _ := strings.Cut(fragment, ":")
	if ref != "" && g.Ref != "" && ref != g.Ref {
		return g, true, fmt.Errorf("ref conflicts: %q and %q", g.Ref, ref)
	}
	if ref != "" {
		g.Ref = ref
	}
	if sub != "" {
		g.Subdir = sub
	}
	if strings.HasPrefix(g.Ref, "-") || strings.HasPrefix(g.Repository, "-") {
		return g, true, fmt.Errorf("%q can not be the name of a Git reference", g.Ref) // it would be an option of git
	}
	return g, true, nil
}

func (g *Git) query(q url.Values) error {
	for key, values := range q {
		switch key {
		case "ref", "branch", "tag":
			if g.Ref != "" && g.Ref != values[0] {
				return fmt.Errorf("ref conflicts: %q and %q", g.Ref, values[0])
			}
			g.Ref = values[0]
		case "subdir":
			g.Subdir = values[0]
		default:
			return fmt.Errorf("unexpected query %q", key)
		}
	}
	return nil
}

// String is the place, without credentials.
func (g Git) String() string {
	text := g.Repository
	if u, err := url.Parse(text); err == nil && !scpLike.MatchString(text) {
		text = u.Redacted()
	}
	if g.Ref+g.Subdir != "" {
		text += "#" + g.Ref
	}
	if g.Subdir != "" {
		text += ":" + g.Subdir
	}
	return text
}

// Clone fetches the place into dir, which is made, and returns its commit. environ is git's environment ("K=V"); nothing of git's
// configuration is read, no hook is run, submodules come over the same protocols only (security.md). ".git" is removed
// unless keep is set.
func (g Git) Clone(ctx context.Context, dir string, keep bool, environ []string) (commit string, err error) {
	c := &cloning{ctx: ctx, dir: dir, env: append(environ,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=git:http:https:ssh",
		"GIT_TEMPLATE_DIR=", "HOME="+dir)}
	if _, err := c.git("init", "-q", "--", dir); err != nil {
		return "", err
	}
	if err := c.fetch(g); err != nil {
		return "", err
	}
	if _, err := c.git("-C", dir, "checkout", "-q", "--detach", "FETCH_HEAD"); err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(dir, ".gitmodules")); err == nil {
		if _, err := c.git("-C", dir, "-c", "protocol.file.allow=never", "submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"); err != nil {
			return "", err
		}
	}
	out, err := c.git("-C", dir, "rev-parse", "HEAD")
	if err != nil {
		return "", err
	}
	if !keep {
		err = removeGitDirs(dir)
	}
	return strings.TrimSpace(out), err
}

// cloning is one clone under way.
type cloning struct {
	ctx context.Context //nolint:containedctx // lives as long as one clone
	dir string
	env []string
}

// fetch gets the one commit, or, from servers that give no single ones, all.
func (c *cloning) fetch(g Git) error {
	ref := g.Ref
	if ref == "" {
		ref = "HEAD"
	}
	_, err := c.git("-C", c.dir, "fetch", "-q", "--no-recurse-submodules", "--depth=1", "--", g.Repository, ref)
	if err == nil {
		return nil
	}
	if _, aerr := c.git("-C", c.dir, "fetch", "-q", "--no-recurse-submodules", "--tags", "--", g.Repository, "+refs/heads/*:refs/remotes/origin/*"); aerr != nil {
		return err
	}
	id, verr := c.git("-C", c.dir, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if verr != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, ".git", "FETCH_HEAD"), []byte(strings.TrimSpace(id)+"\n"), 0o600)
}

func (c *cloning) git(args ...string) (string, error) {
	cmd := exec.CommandContext(c.ctx, "git", args...)
	cmd.Env = c.env
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("git is not installed: it is needed for build contexts in Git repositories")
	}
	if err != nil {
		return "", fmt.Errorf("failed while performing `git %s`: %s: %w", verb(args), strings.TrimSpace(complaint.String()), err)
	}
	return out.String(), nil
}

// verb is the subcommand in git's arguments.
func verb(args []string) string {
	for n := 0; n < len(args); n++ {
		switch {
		case args[n] == "-C" || args[n] == "-c":
			n++
		case !strings.HasPrefix(args[n], "-"):
			return args[n]
		}
	}
	return ""
}

// removeGitDirs removes the repository's own data, and the files that stand for it in submodules.
func removeGitDirs(dir string) error {
	return filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Name() != ".git" {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if e.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
}

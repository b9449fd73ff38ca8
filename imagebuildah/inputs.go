package imagebuildah

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// A Context is where COPY and ADD take files from, as a directory of this machine.
type Context struct {
	Dir string
	// Text is the build file, for a context that is nothing but one.
	Text []byte
	// Fetched says that the directory was made for this build: its ignore files do not count, and its links lead nowhere
	// outside.
	Fetched bool
	// Time is when what was fetched was made: that of the commit, or of the newest file; nil for a directory of this machine.
	Time *time.Time
	done func() error
}

// Fetch says how contexts that are not here are fetched.
type Fetch struct {
	// In is standard input.
	In io.Reader
	// Environ is the environment of git ("K=V").
	Environ []string
	// KeepGit keeps .git directories.
	KeepGit bool
	// CommitTime gives files of a repository the time of the commit.
	CommitTime bool
	// Secrets are as those of [builder.FetchOptions].
	Secrets []builder.Secret
}

// OpenContext opens what a build's argument names (dockerfile.md §1.2): a directory, "-" for standard input, a URL of an archive
// or of a build file, or a Git repository. The caller closes it.
func OpenContext(ctx context.Context, s *builder.Store, where string, f Fetch) (c *Context, err error) {
	if strings.HasPrefix(where, "github.com/") {
		where = "https://" + strings.TrimSuffix(where, ".git") + ".git"
	}
	isGit := source.IsGit(where)
	if !isGit && !source.IsURL(where) && where != "-" {
		return localContext(where)
	}
	c = &Context{Fetched: true}
	if c.Dir, c.done, err = s.Scratch(); err != nil {
		return nil, err
	}
	switch {
	case isGit:
		err = c.clone(ctx, s, where, f)
	case where == "-":
		err = c.unpack(ctx, f.In)
	default:
		err = c.download(ctx, s, where, f)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("build context: %w", err), c.Close())
	}
	return c, nil
}

// Close removes what was fetched.
func (c *Context) Close() error {
	if c.done == nil {
		return nil
	}
	return c.done()
}

func localContext(where string) (*Context, error) {
	dir, err := filepath.Abs(where)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("build context: %w", err)
	}
	return &Context{Dir: dir}, nil
}

// clone fetches a repository.
func (c *Context) clone(ctx context.Context, s *builder.Store, where string, f Fetch) error {
	o := builder.FetchOptions{Environ: f.Environ, CommitTime: f.CommitTime, Secrets: f.Secrets}
	if f.KeepGit {
		o.KeepGitDir = &f.KeepGit
	}
	g, err := s.Git(where, o)
	if err != nil {
		return err
	}
	top := filepath.Join(c.Dir, "clone")
	c.Dir = filepath.Join(top, g.Subdir())
	if err := g.Clone(ctx, top); err != nil {
		return err
	}
	t := g.Committed().UTC()
	c.Time = &t
	return nil
}

func (c *Context) download(ctx context.Context, s *builder.Store, where string, f Fetch) error {
	src, err := s.Download(where, builder.FetchOptions{Secrets: f.Secrets})
	if err != nil {
		return err
	}
	in, err := src.Open(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(c.unpack(ctx, in.Body), in.Close()); err != nil {
		return err
	}
	if c.Text != nil && !in.Mtime.IsZero() {
		t := in.Mtime.UTC()
		c.Time = &t
	}
	return nil
}

// unpack takes an archive as the context, and anything else as the build file of an empty one.
func (c *Context) unpack(ctx context.Context, in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	if !copier.IsArchive(r) {
		var err error
		c.Text, err = io.ReadAll(io.LimitReader(r, MaxBuildFile+1))
		if err == nil && len(c.Text) > MaxBuildFile {
			err = errors.New("neither an archive nor a build file")
		}
		return err
	}
	c.Dir = filepath.Join(c.Dir, "files")
	if err := os.Mkdir(c.Dir, 0o755); err != nil {
		return err
	}
	root, err := rootfs.Open(c.Dir, rootfs.Ignore) // files of a context are copied as root's whoever they belong to
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err = copier.Extract(ctx, root, "/", r, copier.Options{}); err == nil {
		c.Time, err = newest(c.Dir)
	}
	return err
}

// newest is the time of the newest file below a directory, nil if there is none; directories that no archive names have that of now.
func newest(dir string) (newest *time.Time, err error) {
	return newest, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil && (newest == nil || info.ModTime().After(*newest)) {
			t := info.ModTime().UTC()
			newest = &t
		}
		return err
	})
}

// MaxBuildFile is how long a build file may be, in bytes.
const MaxBuildFile = 16 << 20

// BuildFile reads a build file of the context by its name there. No link leads out of the context.
func (c *Context) BuildFile(name string) ([]byte, error) {
	root, err := rootfs.Open(c.Dir, rootfs.Ignore)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(name, MaxBuildFile)
}

// BuildFileURL downloads a build file.
func BuildFileURL(ctx context.Context, where string) ([]byte, error) {
	src, err := source.URL(where, source.URLOptions{})
	if err != nil {
		return nil, err
	}
	in, err := src.Open(ctx)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(in.Body, MaxBuildFile+1))
	return text, errors.Join(err, in.Close())
}

// named is a context of --build-context, opened when it is first used.
type named struct {
	value string
	open  func() (*Context, error)
}

// contextName is the name that a context is known by: an image's without what every short name means. A platform may follow, "NAME::os/arch".
func contextName(name string) string {
	name, platform, _ := strings.Cut(strings.ToLower(name), "::")
	if platform != "" {
		platform = "::" + platform
	}
	for _, prefix := range []string{"docker.io/library/", "docker.io/"} {
		name = strings.TrimPrefix(name, prefix)
	}
	return strings.TrimSuffix(name, ":latest") + platform
}

// ociLayout begins the value of a context that is an image in a layout.
const ociLayout = "oci-layout://"

// imageContext returns the image that a context stands for.
func imageContext(value string) (string, bool) {
	for _, scheme := range []string{"docker-image://", "container-image://", "docker://"} {
		if ref, ok := strings.CutPrefix(value, scheme); ok {
			return ref, true
		}
	}
	if rest, ok := strings.CutPrefix(value, ociLayout); ok {
		return "oci:" + rest, true
	}
	return "", false
}

// replaced returns what a name means when --build-context gives it (dockerfile.md §11.1).
func (b *build) replaced(name string) (named, bool) {
	if name == builder.Scratch || name == "context" || len(b.contexts) == 0 {
		return named{}, false
	}
	if n, ok := b.contexts[contextName(name)+"::"+b.platform().String()]; ok {
		return n, true
	}
	if n, ok := b.contexts[contextName(name)]; ok {
		return n, true
	}
	if k, err := strconv.Atoi(name); err == nil && k >= 0 && k < len(b.plan.Stages) && b.plan.Stages[k].Name != "" {
		return b.replaced(b.plan.Stages[k].Name) // a stage's number means what its name does
	}
	return named{}, false
}

// contextTree is the files of a context that is no image. Directories honour their own ignore file.
func (b *build) contextTree(n named) (tree, error) {
	c, err := n.open()
	if err != nil {
		return tree{}, err
	}
	dir, ignore := c.Dir, ""
	if !c.Fetched {
		ignore = source.IgnoreFile(dir)
	}
	if c.Text != nil { // a file that is no archive is called "context"
		dir = filepath.Join(c.Dir, "file")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return tree{}, err
		}
		if err := os.WriteFile(filepath.Join(dir, "context"), c.Text, 0o600); err != nil {
			return tree{}, err
		}
		if err := os.Chtimes(filepath.Join(dir, "context"), time.Time{}, time.Unix(0, 0)); err != nil {
			return tree{}, err
		}
	}
	return tree{ignore: ignore, context: true, open: func() (*rootfs.Root, func() error, error) {
		root, err := rootfs.Open(dir, rootfs.Ignore)
		if err != nil {
			return nil, nil, err
		}
		return root, root.Close, nil
	}}, nil
}

// openers prepares the contexts of --build-context: each is opened once, by the stage that needs it first.
func (j *job) openers(ctx context.Context, o Options) error {
	j.contexts = map[string]named{}
	for name, value := range o.Contexts {
		if rest, ok := strings.CutPrefix(value, ociLayout); ok {
			place, err := layout(rest)
			if err != nil {
				return fmt.Errorf("--build-context %s: %w", name, err)
			}
			value = ociLayout + place
			j.layouts = append(j.layouts, "oci:"+place)
		}
		j.contexts[contextName(name)] = named{value, sync.OnceValues(func() (*Context, error) {
			c, err := OpenContext(ctx, j.s, value, o.Fetch)
			if err != nil {
				return nil, fmt.Errorf("--build-context %s: %w", name, err)
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			j.closers = append(j.closers, c.Close)
			return c, nil
		})}
	}
	return nil
}

// layout is where the image of "PATH", "PATH:TAG" or "PATH@DIGEST" is, as the transport of layouts has it: that knows no digests, but the
// number of an image in the index.
func layout(text string) (string, error) {
	name, digest, byDigest := strings.Cut(text, "@")
	name, tag, tagged := strings.Cut(name, ":")
	name, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	blob, err := builder.LayoutIndex(name)
	if err != nil {
		return "", fmt.Errorf("no OCI layout: %w", err)
	}
	if !byDigest {
		if tagged {
			name += ":" + tag
		}
		return name, nil
	}
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(blob, &index); err != nil {
		return "", fmt.Errorf("%s/index.json: %w", name, err)
	}
	for n, m := range index.Manifests {
		if m.Digest == digest {
			return fmt.Sprintf("%s:@%d", name, n), nil
		}
	}
	return "", fmt.Errorf("the index of the layout %s has no image %s", name, digest)
}

// close removes what was fetched for the build.
func (j *job) close() error {
	var errs []error
	for _, f := range j.closers {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

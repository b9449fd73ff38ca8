package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/imagebuildah"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// inputs opens the context and reads the build file, arguments and variables (cli.md §11.1). The caller closes the context.
func (f *buildFlags) inputs(ctx context.Context, s *builder.Store, args []string) (c *imagebuildah.Context, err error) {
	if f.o.Args, err = f.buildArgs(); err != nil {
		return nil, err
	}
	if f.o.Env, err = f.variables(); err != nil {
		return nil, err
	}
	if f.o.Contexts, err = named(f.contexts); err != nil {
		return nil, err
	}
	f.o.Fetch = imagebuildah.Fetch{In: f.g.in, Environ: f.g.env.forGit(), Secrets: f.o.Secrets}
	if f.o.Fetch.KeepGit, err = imagebuildah.BoolArg(f.o.Args, imagebuildah.ArgKeepGit); err != nil {
		return nil, err
	}
	if f.o.List, err = imagebuildah.BoolArg(f.o.Args, imagebuildah.ArgList); err != nil {
		return nil, err
	}
	_, f.o.Fetch.CommitTime = f.o.Args["SOURCE_DATE_EPOCH"]
	where := "."
	if len(args) == 1 {
		where = args[0]
	}
	if where == "-" && len(f.files) > 0 && isStdin(f.files[0]) {
		return nil, errors.New("build context and build file can not both be standard input")
	}
	if c, err = imagebuildah.OpenContext(ctx, s, where, f.o.Fetch); err != nil {
		return nil, err
	}
	f.o.ContextTime = c.Time
	if err := f.buildFile(ctx, c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func isStdin(name string) bool { return name == "-" || name == "/dev/stdin" }

// buildFile finds the build file of a context and its ignore file.
func (f *buildFlags) buildFile(ctx context.Context, c *imagebuildah.Context) error {
	st, err := os.Stat(c.Dir)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	if !st.IsDir() {
		f.files, c.Dir = append(f.files, c.Dir), filepath.Dir(c.Dir)
	}
	f.o.Context = c.Dir
	name, err := f.dockerfile(ctx, c)
	if err != nil {
		return err
	}
	if f.o.IgnoreFile = f.ignore; f.ignore == "" && !c.Fetched {
		f.o.IgnoreFile = imagebuildah.IgnoreFile(name, c.Dir)
	}
	return nil
}

func (f *buildFlags) buildArgs() (map[string]string, error) {
	m := map[string]string{}
	if e := f.o.Output.Epoch; e != nil {
		m["SOURCE_DATE_EPOCH"] = strconv.FormatInt(e.Unix(), 10)
	} else if f.epochOf != "" {
		m["SOURCE_DATE_EPOCH"] = f.epochOf
	}
	list, err := argFiles(f.argFiles)
	if err != nil {
		return nil, err
	}
	for _, a := range append(list, f.args...) {
		k, v, ok := strings.Cut(a, "=")
		if k == "" {
			return nil, fmt.Errorf("invalid --build-arg %q: want K=V", a)
		}
		if !ok {
			if v, ok = f.g.env.lookup(k); !ok {
				continue
			}
		}
		m[k] = v
	}
	return m, nil
}

// argFiles reads the lines of --build-arg-file: K=V, and comments.
func argFiles(names []string) (list []string, err error) {
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading build arguments: %w", err)
		}
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				list = append(list, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("reading build arguments of %s: %w", name, err)
		}
	}
	return list, nil
}

// variables reads --env: K=V, K from the environment, PREFIX* for all that begin so.
func (f *buildFlags) variables() (list []string, err error) {
	for _, text := range f.envs {
		k, _, ok := strings.Cut(text, "=")
		if k == "" {
			return nil, fmt.Errorf("invalid --env %q: want K=V", text)
		}
		if ok {
			list = append(list, text)
			continue
		}
		list = append(list, f.g.env.matching(k)...)
	}
	return list, nil
}

// named reads the values of --build-context.
func named(values []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range values {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || value == "" {
			return nil, fmt.Errorf("invalid --build-context %q: want NAME=VALUE", text)
		}
		scheme, _, ok := strings.Cut(value, "://")
		if ok && !source.IsGit(value) && !strings.Contains(" http https docker-image container-image docker oci-layout ", " "+scheme+" ") {
			return nil, fmt.Errorf("unsupported context source %s for %s", scheme, name)
		}
		if !ok && !source.IsGit(value) {
			if info, err := os.Stat(value); err != nil {
				return nil, fmt.Errorf("--build-context %s: %w", name, err)
			} else if !info.IsDir() {
				return nil, fmt.Errorf("--build-context %s: %s is not a directory", name, value)
			}
		}
		m[name] = value
	}
	return m, nil
}

// dockerfile reads the build file or files and returns the first one's path.
func (f *buildFlags) dockerfile(ctx context.Context, c *imagebuildah.Context) (string, error) {
	if c.Text != nil {
		if len(f.files) > 0 {
			return "", errors.New("the context is a build file itself: --file can not be used with it")
		}
		f.o.File, f.o.Name = bytes.NewReader(c.Text), "Dockerfile"
		return "", nil
	}
	if len(f.files) == 0 {
		name, err := findBuildFile(c.Dir)
		if err != nil {
			return "", err
		}
		f.files = []string{name}
	}
	display := shown
	if c.Fetched {
		display = func(path string) string { return strings.TrimPrefix(path, c.Dir+"/") }
	}
	var text bytes.Buffer
	for i, name := range f.files {
		b, path, err := f.read(ctx, name, c)
		if err != nil {
			return "", err
		}
		if strings.HasSuffix(path, ".in") {
			if b, err = f.preprocess(ctx, b, path, c.Dir); err != nil {
				return "", err
			}
		}
		if i > 0 {
			if err := further(path, b, text.Bytes()); err != nil {
				return "", err
			}
			f.o.Further = append(f.o.Further, plan.Further{Name: display(path), Line: bytes.Count(text.Bytes(), []byte("\n")) + 1})
		}
		f.files[i] = path
		text.Write(b)
		text.WriteByte('\n')
	}
	f.o.File, f.o.Name = &text, display(f.files[0])
	return f.files[0], nil
}

func findBuildFile(dir string) (string, error) {
	for _, n := range []string{"Containerfile", "Dockerfile", "dockerfile"} {
		p := filepath.Join(dir, n)
		st, err := os.Lstat(p)
		if errors.Is(err, fs.ErrPermission) {
			return "", fmt.Errorf("looking for a Containerfile or Dockerfile: %w", err)
		}
		if err != nil {
			continue
		}
		to, err := os.Stat(p)
		if st.IsDir() || err == nil && !to.Mode().IsRegular() { // a FIFO or device in a hostile context would be waited for
			return "", fmt.Errorf("assumed Containerfile %q is not a file", p)
		}
		return p, nil
	}
	return "", fmt.Errorf("cannot find Containerfile or Dockerfile in context directory: stat %s: no such file or directory", filepath.Join(dir, "Dockerfile"))
}

// shown is how messages name a build file: from the current directory if it is below it.
func shown(path string) string {
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return path
}

// read reads one build file, looked for here and then in the context. In a context that was fetched it is looked for only
// there, and links lead nowhere else.
func (f *buildFlags) read(ctx context.Context, name string, c *imagebuildah.Context) ([]byte, string, error) {
	switch {
	case isStdin(name):
		b, err := io.ReadAll(f.g.in)
		return b, "-", err
	case source.IsURL(name):
		b, err := imagebuildah.BuildFileURL(ctx, name)
		if err != nil {
			err = fmt.Errorf("reading build file: %w", err)
		}
		return b, name, err
	case c.Fetched:
		rel := strings.TrimPrefix(name, c.Dir+"/")
		b, err := c.BuildFile(rel)
		if err != nil {
			err = fmt.Errorf("reading build file %s of the context: %w", rel, err)
		}
		return b, filepath.Join(c.Dir, rel), err
	}
	st, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(name) {
		name = filepath.Join(c.Dir, name)
		st, err = os.Stat(name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading build file: %w", err)
	}
	if st.IsDir() {
		return nil, "", fmt.Errorf("containerfile: %q cannot be path to a directory", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("reading build file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, imagebuildah.MaxBuildFile+1))
	if err == nil && len(text) > imagebuildah.MaxBuildFile {
		err = fmt.Errorf("reading build file %s: larger than %d bytes", name, imagebuildah.MaxBuildFile)
	}
	return text, name, err
}

// further checks the directives of a build file behind the first: what it says is read as a part of that.
func further(name string, text, first []byte) error {
	escape, err := plan.Escape(text)
	if err != nil {
		return fmt.Errorf("parsing additional Dockerfile %s: %w", name, err)
	}
	whole, err := plan.Escape(first)
	if err != nil {
		return nil //nolint:nilerr // the build says it, with the place
	}
	if escape != whole {
		return fmt.Errorf("parsing additional Dockerfile %s: its escape character is %s, that of the first file %s: say the same in both", name, escape, whole)
	}
	return nil
}

// preprocess runs cpp over a build file; what it complains of is a warning only (exact.md, cli.md §11.1).
func (f *buildFlags) preprocess(ctx context.Context, text []byte, name, dir string) ([]byte, error) {
	args := append([]string{"-E", "-iquote", dir, "-traditional", "-undef", "-"}, strings.Fields(f.g.env.get("CPPFLAGS"))...)
	cmd := exec.CommandContext(ctx, "cpp", append(args, f.cpps...)...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), &out, &complaint
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("%s: .in support requires cpp to be installed", name)
	}
	said := strings.TrimSpace(complaint.String())
	if out.Len() == 0 {
		return nil, fmt.Errorf("%s: preprocessor produced no output: %w: %s", name, cmp.Or(err, errors.New("no lines")), said)
	}
	if said != "" {
		fmt.Fprintf(f.g.err, "Ignoring %s\n", said)
	}
	return out.Bytes(), nil
}

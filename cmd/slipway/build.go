package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// buildFlags are the flags of build.
type buildFlags struct {
	g                    *globals
	o                    imagebuildah.Options
	files, args          []string
	format, iso, iidfile string
	rawIIDFile, ignore   string
	ttl                  string
	layers               bool
}

func newBuildCmd(g *globals) *cobra.Command {
	f := &buildFlags{g: g}
	cmd := &cobra.Command{
		Use: "build [flags] [CONTEXT]", Aliases: []string{"bud", "build-using-dockerfile"}, Short: "Build an image from a Dockerfile",
		Example: "  build -t app .\n  bud -f Containerfile --build-arg V=1 --target test .",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("accepts at most 1 arg(s), received %d", len(args))
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVarP(&f.o.Tags, "tag", "t", nil, "`name` of the image")
	fs.StringSliceVarP(&f.files, "file", "f", nil, "Dockerfile, a `path` or - for standard input")
	fs.StringVar(&f.o.Target, "target", "", "`stage` to build")
	fs.StringArrayVar(&f.args, "build-arg", nil, "build argument `K=V`, or K from the environment")
	fs.BoolVar(&f.o.NoCache, "no-cache", false, "execute every step")
	fs.StringSliceVar(&f.o.NoCacheFilter, "no-cache-filter", nil, "execute every step of these `stages`")
	fs.StringVar(&f.ttl, "cache-ttl", "", "use no cached step older than this `duration`; 0 is --no-cache")
	fs.BoolVar(&f.o.ExplainCache, "explain-cache", false, "say of each step whether it was cached, and if not why")
	fs.IntVar(&f.o.Jobs, "jobs", 0, "build at most `n` stages at once; 0 is the number of CPUs")
	layers, err := strconv.ParseBool(g.env.get("LAYERS"))
	fs.BoolVar(&f.layers, "layers", err != nil || layers, "one layer a step, kept as cache")
	fs.StringVar(&f.format, "format", g.env.get("FORMAT"), "`format`: oci or docker")
	fs.StringArrayVar(&f.o.Labels, "label", nil, "label `k=v`")
	fs.StringArrayVar(&f.o.Annotations, "annotation", nil, "annotation `k=v`")
	fs.StringVar(&f.iidfile, "iidfile", "", "write the image's ID to `file`")
	fs.StringVar(&f.rawIIDFile, "iidfile-raw", "", "write the image's ID without sha256: to `file`")
	fs.StringVar(&f.ignore, "ignorefile", "", "ignore `file`")
	fs.BoolVarP(&f.o.Quiet, "quiet", "q", false, "print the image's ID only")
	fs.BoolVar(&f.o.Output.Squash, "squash", false, "one layer for everything")
	fs.Var(pullPolicy{&f.o.Pull.Policy}, "pull", "when to pull: missing, always, newer, never")
	fs.Lookup("pull").NoOptDefVal = "always"
	fs.StringVar(&f.iso, "isolation", "", "`isolation` of RUN: oci, rootless, chroot")
	fs.StringVar(&f.o.Box.Runtime, "runtime", g.env.get("RUNTIME"), "OCI `runtime` for isolation oci")
	registryFlags(fs, g, &f.o.Pull.Registry)
	retryFlags(fs, &f.o.Pull.Registry)
	platform := platformFlags(fs, &f.o.Pull.Platform)
	box := sandboxFlags(fs, &f.o.Box)
	repro := reproFlags(fs, g, &f.o.Output)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		if err := errors.Join(platform(), box(), repro()); err != nil {
			return err
		}
		return f.run(ctx, s, args)
	})
	return cmd
}

func (f *buildFlags) run(ctx context.Context, s *builder.Store, args []string) (err error) {
	o := &f.o
	o.NoLayers = !f.layers
	if err := f.cacheTTL(); err != nil {
		return err
	}
	if o.Jobs < 0 {
		return fmt.Errorf("--jobs %d: want 0 or more", o.Jobs)
	}
	if o.Output.Format, err = parseFormat(f.format); err != nil {
		return err
	}
	if o.Box.Isolation, err = f.g.env.isolation(f.iso); err != nil {
		return err
	}
	if o.Args, err = f.buildArgs(); err != nil {
		return err
	}
	if err := f.inputs(args); err != nil {
		return err
	}
	if _, err := builder.FullNames(o.Tags); err != nil {
		return err
	}
	o.Out, o.Err, o.Log = f.g.out, f.g.err, f.g.store.Log
	if o.Quiet {
		o.Out = f.g.err
	} else {
		o.Pull.Report = f.g.err
	}
	res, err := imagebuildah.Build(ctx, s, *o)
	var at *plan.SourceError
	if errors.As(err, &at) {
		fmt.Fprint(f.g.err, at.Excerpt)
	}
	if err != nil {
		return err
	}
	return f.result(res.Image.ID())
}

// cacheTTL reads --cache-ttl.
func (f *buildFlags) cacheTTL() (err error) {
	if f.ttl == "" {
		return nil
	}
	if f.ttl == "0" {
		f.o.NoCache = true
		return nil
	}
	if f.o.CacheTTL, err = time.ParseDuration(f.ttl); err == nil && f.o.CacheTTL < 0 {
		err = errors.New("want a duration that is not negative")
	}
	if err != nil {
		return fmt.Errorf("parsing --cache-ttl %q: %w", f.ttl, err)
	}
	f.o.NoCache = f.o.NoCache || f.o.CacheTTL == 0
	return nil
}

func (f *buildFlags) result(id string) error {
	if f.iidfile == "" && f.rawIIDFile == "" {
		_, err := fmt.Fprintln(f.g.out, id)
		return err
	}
	var errs []error
	if f.iidfile != "" {
		errs = append(errs, writeFile(f.iidfile, "sha256:"+id))
	}
	if f.rawIIDFile != "" {
		errs = append(errs, writeFile(f.rawIIDFile, id))
	}
	return errors.Join(errs...)
}

func (f *buildFlags) buildArgs() (map[string]string, error) {
	m := map[string]string{}
	if e := f.o.Output.Epoch; e != nil {
		m["SOURCE_DATE_EPOCH"] = strconv.FormatInt(e.Unix(), 10)
	}
	for _, a := range f.args {
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

// inputs finds the context directory and the Dockerfile (cli.md §11.1).
func (f *buildFlags) inputs(args []string) error {
	dir := "."
	if len(args) == 1 {
		dir = args[0]
	}
	if strings.Contains(dir, "://") || dir == "-" || strings.HasSuffix(dir, ".git") {
		return fmt.Errorf("build context %q: only directories and Dockerfiles of this machine are supported", dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	st, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	if !st.IsDir() {
		f.files, dir = append(f.files, dir), filepath.Dir(dir)
	}
	f.o.Context = dir
	name, err := f.dockerfile(dir)
	if err != nil {
		return err
	}
	if f.o.IgnoreFile = f.ignore; f.ignore == "" {
		f.o.IgnoreFile = imagebuildah.IgnoreFile(name, dir)
	}
	return nil
}

// dockerfile opens the build file or files and returns the first one's path.
func (f *buildFlags) dockerfile(dir string) (string, error) {
	if len(f.files) == 0 {
		for _, n := range []string{"Containerfile", "Dockerfile", "dockerfile"} {
			p := filepath.Join(dir, n)
			st, err := os.Stat(p)
			if err != nil {
				continue
			}
			if st.IsDir() {
				return "", fmt.Errorf("assumed Containerfile %q is not a file", p)
			}
			f.files = []string{p}
			break
		}
		if len(f.files) == 0 {
			return "", fmt.Errorf("cannot find Containerfile or Dockerfile in context directory: stat %s: no such file or directory", filepath.Join(dir, "Dockerfile"))
		}
	}
	var text bytes.Buffer
	for i, name := range f.files {
		b, path, err := f.read(name, dir)
		if err != nil {
			return "", err
		}
		f.files[i] = path
		text.Write(b)
		text.WriteByte('\n')
	}
	f.o.File, f.o.Name = &text, f.files[0]
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, f.files[0]); err == nil && !strings.HasPrefix(rel, "..") {
			f.o.Name = rel
		}
	}
	return f.files[0], nil
}

// read reads one build file, looked for here and then in the context.
func (f *buildFlags) read(name, dir string) ([]byte, string, error) {
	if name == "-" || name == "/dev/stdin" {
		b, err := io.ReadAll(f.g.in)
		return b, "-", err
	}
	st, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
		st, err = os.Stat(name)
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading build file: %w", err)
	}
	if st.IsDir() {
		return nil, "", fmt.Errorf("containerfile: %q cannot be path to a directory", name)
	}
	b, err := os.ReadFile(name)
	return b, name, err
}

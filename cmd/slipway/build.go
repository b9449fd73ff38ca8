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
	"github.com/spf13/pflag"

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
	ttl, metadata        string
	argFiles, contexts   []string
	outputs, envs, cpps  []string
	progress, logfile    string
	timings              bool
	epochOf              string // what has the time that SOURCE_DATE_EPOCH means
	silent               bool   // standard output is the result's
	mounts, secrets, ssh []string
	layers, check        bool
	sign                 builder.Signing
	split, allPlatforms  bool
	push                 bool
	had                  map[string]bool // images that were there before, where the result is only wanted elsewhere
	tags                 buildTags
	logs                 []*os.File // closed at the end
	onFailure            string
}

func newBuildCmd(g *globals) *cobra.Command {
	f := &buildFlags{g: g}
	cmd := &cobra.Command{
		Use: "build [flags] [CONTEXT]", Short: "Build an image from a Dockerfile",
		Example: "  build -t app .\n  bud -f Containerfile --build-arg V=1 --target test .\n  build -o type=tar,dest=root.tar https://example.com/app.git#v1:src\n  tar c app | PROGRAM build -",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("accepts at most 1 arg(s), received %d", len(args))
			}
			return nil
		},
	}
	fs := cmd.Flags()
	f.inputFlags(fs)
	f.resultFlags(fs)
	f.stepFlags(fs)
	kept := keepFlags(fs, f)
	stages := stageFlags(fs, f)
	usage := usageFlags(fs, f)
	ignoredFlags(fs)
	inheritLabels := fs.Bool("inherit-labels", true, "keep the labels of the base")
	inheritAnnotations := fs.Bool("inherit-annotations", true, "keep the annotations of the base")
	pull := pullFlags(fs, &f.o.Pull.Policy)
	registryFlags(fs, g, &f.o.Pull.Registry)
	decryptFlag(fs, &f.o.Pull.Registry)
	blobCacheFlag(fs, &f.o.Pull.Registry)
	retryFlags(fs, &f.o.Pull.Registry)
	platforms := platformsFlags(fs, "`os/arch[/variant]` to build for; several give a list")
	compress := compressionFlags(fs, &f.o.Output.Compression)
	box := sandboxFlags(fs, &f.o.Box)
	usersFlags(fs, &f.o.Users)
	sign := signFlags(fs, g, &f.sign)
	sbom := sbomFlags(fs, &f.o.SBOM)
	cwFlag(fs)
	repro := reproFlags(fs, g, &f.o.Output, &f.epochOf)
	fs.Lookup("source-date-epoch").Usage = "`seconds` that the image's own times are set to, or what has the time, if it is fetched: context, a --build-context, a stage that is one ADD (default $SOURCE_DATE_EPOCH)"
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		list, err := platforms()
		if err := errors.Join(err, box(), sign(), sbom(), repro(), compress(), pull(), kept(), stages(), usage()); err != nil {
			return err
		}
		f.o.Box.NoPivot = g.env.get("NOPIVOT") != ""
		f.o.Platforms, f.o.Pull.Platform = list, list[0]
		f.o.DropLabels, f.o.DropAnnotations = !*inheritLabels, !*inheritAnnotations
		return f.run(ctx, s, args)
	})
	return cmd
}

// inputFlags say what is built, and what of it is taken from a cache.
func (f *buildFlags) inputFlags(fs *pflag.FlagSet) {
	fs.StringSliceVarP(&f.files, "file", "f", nil, "Dockerfile, a `path` or - for standard input")
	fs.StringVar(&f.o.Target, "target", "", "`stage` to build")
	fs.StringArrayVar(&f.args, "build-arg", nil, "build argument `K=V`, or K from the environment")
	fs.BoolVar(&f.check, "check", false, "check the Dockerfile, build nothing; exit status 1 if anything is found")
	fs.BoolVar(&f.o.NoCache, "no-cache", false, "execute every step")
	fs.StringSliceVar(&f.o.NoCacheFilter, "no-cache-filter", nil, "execute every step of these `stages`")
	fs.StringVar(&f.ttl, "cache-ttl", "", "use no cached step older than this `duration`; 0 is --no-cache")
	fs.BoolVar(&f.o.ExplainCache, "explain-cache", false, "say of each step whether it was cached, and if not why")
	fs.IntVar(&f.o.Jobs, "jobs", 0, "run at most `n` commands at once, of stages side by side; 1 builds one stage after the other, 0 is the number of CPUs")
	fs.StringArrayVar(&f.o.CacheFrom, "cache-from", nil, "look steps up in a remote cache: `REPOSITORY`, type=registry,ref=REPOSITORY, type=local,src=DIR; with ,mounts=true also what cache mounts hold")
	fs.StringArrayVar(&f.o.CacheTo, "cache-to", nil, "give the steps to a remote cache: `REPOSITORY`, type=registry,ref=REPOSITORY, type=local,dest=DIR; with ,mounts=true also what cache mounts hold")
	fs.StringArrayVar(&f.argFiles, "build-arg-file", nil, "`file` with a build argument K=V a line")
	fs.StringArrayVar(&f.contexts, "build-context", nil, "further context `NAME=DIR`, URL, Git repository or docker-image://REF")
	fs.StringVar(&f.o.From, "from", "", "`image` of the first FROM instead of the one in the file")
	fs.StringArrayVar(&f.cpps, "cpp-flag", nil, "`flag` for cpp, which reads build files whose names end in .in")
	fs.BoolVar(&f.layers, "layers", layersByDefault(f.g.env.get("LAYERS")), "one layer a step, kept as cache")
	fs.StringVar(&f.ignore, "ignorefile", "", "ignore `file`")
	fs.BoolVar(&f.allPlatforms, "all-platforms", false, "build for all platforms that the base images have")
}

// layersByDefault reads BUILDAH_LAYERS: whatever does not say yes means one layer for a stage (cli.md §3); without it there are layers.
func layersByDefault(value string) bool {
	switch strings.ToLower(value) {
	case "", "1", "t", "true", "y", "yes", "on":
		return true
	}
	return false
}

// resultFlags say what becomes of the image, and of what the build prints.
func (f *buildFlags) resultFlags(fs *pflag.FlagSet) {
	fs.StringArrayVarP(&f.tags.all, "tag", "t", nil, "`name` of the image, or where else to write it: TRANSPORT:REST")
	fs.StringVar(&f.o.Manifest, "manifest", "", "add the image to this `list`, which is made if it is not there")
	fs.BoolVar(&f.push, "push", false, "push each --tag to its registry")
	dockerFlags(fs)
	fs.StringVar(&f.progress, "progress", "auto", "`how` the build is shown: plain lines, tty, json (events on standard error), auto")
	fs.BoolVar(&f.timings, "timings", false, "print a table of the steps and what they took")
	fs.StringVar(&f.logfile, "logfile", "", "write what the build prints to `file`")
	fs.BoolVar(&f.split, "logsplit", false, "with --logfile: a file for each platform, FILE_OS_ARCH")
	fs.StringArrayVarP(&f.outputs, "output", "o", nil, "write the result too: `DIR`, -, or type=local|tar|oci|docker|image,dest=PATH")
	fs.StringVar(&f.metadata, "metadata-file", "", "write the image's digests as JSON to `file`")
	fs.StringArrayVar(&f.envs, "env", nil, "variable `K=V` of the image, or K from the environment")
	fs.StringSliceVar(&f.o.UnsetEnv, "unsetenv", nil, "`variable` to take out of the image")
	fs.StringSliceVar(&f.o.UnsetLabels, "unsetlabel", nil, "`label` to take out of the image")
	fs.StringSliceVar(&f.o.UnsetAnnotations, "unsetannotation", nil, "`annotation` to take out of the image")
	fs.StringVar(&f.format, "format", f.g.env.get("FORMAT"), "`format`: oci or docker")
	fs.StringArrayVar(&f.o.Labels, "label", nil, "label `k=v`")
	fs.StringArrayVar(&f.o.Annotations, "annotation", nil, "annotation `k=v`")
	fs.StringVar(&f.iidfile, "iidfile", "", "write the image's ID to `file`")
	fs.StringVar(&f.rawIIDFile, "iidfile-raw", "", "write the image's ID without sha256: to `file`")
	fs.BoolVarP(&f.o.Quiet, "quiet", "q", false, "print the image's ID only")
	fs.BoolVar(&f.o.Output.Squash, "squash", false, "one layer for everything")
}

// dockerFlags are flags that scripts give docker build for what is so here anyway.
func dockerFlags(fs *pflag.FlagSet) {
	fs.BoolFunc("load", "put the image into local storage, as is always done", func(v string) error {
		if isOn, err := strconv.ParseBool(v); err != nil || !isOn {
			return errors.New("the image is always put into local storage")
		}
		return nil
	})
	fs.Func("provenance", "`false`: make no attestation, as none is ever made", func(v string) error {
		if isOn, err := strconv.ParseBool(v); err != nil || isOn {
			return errors.New("attestations are not supported: only false is taken")
		}
		return nil
	})
}

// stepFlags say how RUN is run.
func (f *buildFlags) stepFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.iso, "isolation", "", "`isolation` of RUN: native (default; also rootless), oci or chroot")
	fs.StringVar(&f.o.Box.Runtime, "runtime", f.g.env.get("RUNTIME"), "execute RUN with this OCI `runtime` (isolation oci, if no other is given)")
	fs.StringArrayVar(&f.o.Box.HooksDirs, "hooks-dir", nil, "`dir`ectory of OCI hooks for RUN (default: hooks_dir of containers.conf)")
	fs.StringSliceVar(&f.o.Box.RuntimeFlags, "runtime-flag", nil, "global `flag` for the runtime, without dashes")
	fs.BoolVar(&f.o.Box.Hosts.NoHosts, "no-hosts", false, "leave /etc/hosts of RUN as the image has it")
	fs.BoolVar(&f.o.Box.Hosts.NoHostname, "no-hostname", false, "leave /etc/hostname of RUN as the image has it")
	fs.StringSliceVar(&f.o.Allow, "allow", nil, "let RUN use an `entitlement`: security.insecure (--security=insecure), network.host, device or device=NAME (--device)")
	fs.StringArrayVar(&f.mounts, "mount", nil, "mount `type=bind|cache|tmpfs|secret|ssh,...` for every RUN")
	fs.StringArrayVar(&f.secrets, "secret", nil, "secret `id=ID[,src=FILE|VAR][,env=VAR][,type=file|env]` for RUN --mount=type=secret")
	fs.StringArrayVar(&f.ssh, "ssh", nil, "agent `ID[=SOCKET|KEY[,KEY...]]` for RUN --mount=type=ssh; ID is usually default")
}

// settle turns what was typed into options, but for what it takes files or registries to know.
func (f *buildFlags) settle(s *builder.Store) (err error) {
	o := &f.o
	o.NoLayers = !f.layers
	o.NoIDs = f.iidfile != "" || f.rawIIDFile != "" // cli.md §11.4
	if err := f.cacheTTL(); err != nil {
		return err
	}
	if o.CacheLimit, err = f.g.env.cacheLimit(s); err != nil {
		return err
	}
	if err := builder.CheckCachePlaces(append(o.CacheFrom, o.CacheTo...)...); err != nil {
		return err
	}
	for _, a := range o.Allow {
		if err := imagebuildah.CheckAllow(a); err != nil {
			return err
		}
	}
	if r := o.Pull.Registry; r.Retries != builder.RetriesDefault && r.RetryDelay != 0 {
		f.g.store.Log.Debug(fmt.Sprintf("Setting MaxPullPushRetries to %d and PullPushRetryDelay to %v", r.Retries, r.RetryDelay))
	}
	if o.Jobs < 0 {
		return fmt.Errorf("building: invalid value for jobs.  It must be a positive integer, or 0 for one a CPU, not %d", o.Jobs)
	}
	if o.Output.Format, err = parseFormat(f.format); err != nil {
		return err
	}
	if o.Box.Isolation, err = f.g.env.isolation(f.iso); err != nil {
		return err
	}
	for i, dir := range o.Box.HooksDirs {
		if o.Box.HooksDirs[i], err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	return f.mountOptions()
}

func (f *buildFlags) run(ctx context.Context, s *builder.Store, args []string) (err error) {
	if err := f.settle(s); err != nil {
		return err
	}
	in, err := f.inputs(ctx, s, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if err = f.names(ctx, s); err != nil {
		return err
	}
	if f.allPlatforms {
		if err := f.findPlatforms(ctx, s); err != nil {
			return err
		}
	}
	outputs, err := f.streams()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.closeLogs()) }()
	if f.check {
		return f.checks(ctx, s)
	}
	if f.elsewhere(outputs) {
		if f.had, err = imagesOf(s); err != nil {
			return err
		}
	}
	res, err := f.build(ctx, s)
	if err != nil {
		return err
	}
	return f.deliver(ctx, s, res, outputs)
}

// findPlatforms is --all-platforms.
func (f *buildFlags) findPlatforms(ctx context.Context, s *builder.Store) (err error) {
	if len(f.o.Platforms) > 1 || f.o.Platforms[0] != (builder.Platform{}) {
		return errors.New("--all-platforms can not be used with --platform, --os, --arch or --variant")
	}
	text, err := io.ReadAll(f.o.File)
	if err != nil {
		return err
	}
	f.o.File = bytes.NewReader(text)
	if f.o.Platforms, err = imagebuildah.AllPlatforms(ctx, s, f.o); err != nil {
		return err
	}
	f.o.Pull.Platform, f.o.File = f.o.Platforms[0], bytes.NewReader(text)
	return nil
}

// streams says where everything is printed. The caller closes the logs.
func (f *buildFlags) streams() (outputs []*output, err error) {
	o := &f.o
	o.Out, o.Err, o.Log = f.g.out, f.g.err, f.g.store.Log
	if o.Quiet {
		o.Out = f.g.err
	} else {
		o.Pull.Report = f.g.err
	}
	if outputs, err = f.parseOutputs(); err != nil {
		return nil, err
	}
	if err := f.checkResults(outputs); err != nil {
		return nil, err
	}
	return outputs, f.openLogs()
}

// build builds, shows it, and says where in the file it failed.
func (f *buildFlags) build(ctx context.Context, s *builder.Store) (*imagebuildah.Result, error) {
	end, err := f.watch()
	if err != nil {
		return nil, err
	}
	f.g.warnAnnotations(f.o.Output.Format, f.o.Annotations)
	res, err := imagebuildah.Build(ctx, s, f.o)
	end(err != nil)
	return res, f.located(err)
}

// located shows the lines that an error is about, and says where its container is if that was kept.
func (f *buildFlags) located(err error) error {
	var kept *imagebuildah.KeptError
	if errors.As(err, &kept) {
		err = fmt.Errorf("%w; its container is kept: \"%s%s run -t %s sh\" enters it", err, f.g.program, f.g.storageFlags(), kept.Container)
	}
	var at *plan.SourceError
	if errors.As(err, &at) {
		fmt.Fprint(f.g.err, at.Excerpt)
	}
	return err
}

// checks is --check: the exit status is 1 if anything is found.
func (f *buildFlags) checks(ctx context.Context, s *builder.Store) error {
	n, err := imagebuildah.Check(ctx, s, f.o)
	if err != nil {
		fmt.Fprintln(f.g.err, "Error:", f.located(err))
	}
	if n > 0 || err != nil {
		return &silentError{1}
	}
	return nil
}

// cacheTTL reads --cache-ttl.
func (f *buildFlags) cacheTTL() (err error) {
	if f.ttl == "" {
		return nil
	}
	if f.o.CacheTTL, err = time.ParseDuration(f.ttl); err == nil && f.o.CacheTTL < 0 {
		err = errors.New("want a duration that is not negative")
	}
	if err != nil {
		return fmt.Errorf("parsing --cache-ttl %q: %w", f.ttl, err)
	}
	if f.o.CacheTTL == 0 {
		f.g.store.Log.Debug("Setting --no-cache=true")
		f.o.NoCache = true
	}
	return nil
}

// Package imagebuildah builds images from Dockerfiles, with the meaning that BuildKit gives them, over the primitives of
// package builder: what a build does, a script of commands can do. Parsing is package plan's work.
//
// Start reading at Build, then stage.go and steps.go.
package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// Options describes a build.
type Options struct {
	// Context is the directory that COPY and ADD take files from.
	Context string
	// Contexts are those of --build-context by name: directories, URLs, Git repositories, images ("docker-image://REF").
	Contexts map[string]string
	// Fetch says how Contexts that are not here are fetched.
	Fetch Fetch
	// From replaces the image of the first FROM.
	From string
	// File is the Dockerfile; Name names it in messages.
	File io.Reader
	Name string
	// IgnoreFile is a file of the host, empty for none.
	IgnoreFile string
	Target     string
	// Args are the values of --build-arg.
	Args map[string]string
	// Tags are names in local storage.
	Tags []string
	Pull builder.PullOptions
	Box  builder.Sandbox
	// Allow are the entitlements that RUN may use: security.insecure and network.host ([CheckAllow]).
	Allow []string
	// Mounts are for every RUN; Secrets and Agents are what mounts may ask for.
	Mounts  []builder.Mount
	Secrets []builder.Secret
	Agents  []builder.Agent
	Output  builder.Output
	// Labels and Annotations are "k=v", set last.
	Labels, Annotations []string
	// Env are "K=V" set before the first instruction of a stage.
	Env []string
	// UnsetEnv, UnsetLabels and UnsetAnnotations are taken out of the image; Drop leaves out all that the base brings.
	UnsetEnv, UnsetLabels, UnsetAnnotations []string
	DropLabels, DropAnnotations             bool
	// NoLayers makes one layer of each stage, without a cache; NoCache looks nothing up.
	NoLayers, NoCache bool
	// NoCacheFilter names stages in which nothing is looked up.
	NoCacheFilter []string
	// CacheTTL is the age from which a cached result is not used; 0 is any.
	CacheTTL time.Duration
	// ExplainCache prints for each step whether it was found, and which input is another for one that was not.
	ExplainCache bool
	// Progress is told of what happens, one event at a time; nil is nobody.
	Progress func(Event)
	// CacheFrom are remote caches to look steps up in, CacheTo those that get the steps (builder.RemoteCache).
	CacheFrom, CacheTo []string
	// CacheLimit is kept at the end of a build; nil is none.
	CacheLimit *builder.CacheLimit
	// Jobs is how many stages are built at once; 0 is as many as there are CPUs.
	Jobs int
	// Out gets the steps and the output of RUN, Err what RUN writes to its standard error. Quiet leaves out the steps.
	Out, Err io.Writer
	Quiet    bool
	// Log gets warnings; nil discards them.
	Log *slog.Logger
}

// Result is what was built.
type Result struct{ Image *builder.Image }

// A StepError says which instruction failed.
type StepError struct {
	Text string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("building at STEP \"%s\": %v", e.Text, e.Err) }

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// build is the state of one build.
type build struct {
	s       *builder.Store
	o       Options
	plan    *plan.Plan
	global  expand.Scope
	context *rootfs.Root
	index   *copier.Index // of the context's files
	done    []*stage      // by index; one that is needed is there before those that need it start
	once    []sync.Once
	failed  []error // of stages, by index
	needed  []int
	console *console
	// contexts are those of --build-context, by contextName; closers are what has been opened of them.
	contexts map[string]named
	closers  []func() error
	// remotes are the caches of CacheFrom, read when the first step is missing.
	remotes     []*builder.RemoteCache
	remotesOnce sync.Once
	mu          sync.Mutex
	watching    sync.Mutex // held while Progress is called
	pulls       map[string]*pulling
}

// Build builds the target of a Dockerfile and gives the image its tags. Nothing is left of a build that fails, but
// the layers of the steps that succeeded, which the next build finds.
func Build(ctx context.Context, s *builder.Store, o Options) (res *Result, err error) {
	p, err := plan.Parse(o.Name, o.File)
	if err != nil {
		return nil, err
	}
	b := &build{s: s, o: o, plan: p, done: make([]*stage, len(p.Stages)), once: make([]sync.Once, len(p.Stages)), failed: make([]error, len(p.Stages)), pulls: map[string]*pulling{}}
	if b.o.Box, err = s.WithDefaults(o.Box); err != nil {
		return nil, err
	}
	if b.context, err = rootfs.Open(o.Context, rootfs.Apply); err != nil {
		return nil, fmt.Errorf("opening build context: %w", err)
	}
	defer b.context.Close()
	defer func() {
		if err != nil {
			b.event(Event{Kind: "error", Text: err.Error()})
		}
	}()
	b.index = s.ContextIndex(o.Context)
	defer s.SaveIndex(b.index)
	using, err := s.UseCache()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, using.Close()); err == nil && o.CacheLimit != nil {
			err = s.LimitCache(ctx, *o.CacheLimit)
		}
	}()
	b.openers(ctx)
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.globals(); err != nil {
		return nil, err
	}
	target, err := p.Target(o.Target)
	if err != nil {
		return nil, err
	}
	if b.needed, err = p.Needed(target, b.sources); err != nil {
		return nil, err
	}
	checks, err := b.lint(ctx)
	if err != nil {
		return nil, err
	}
	for i := range checks.Findings {
		b.hint(checks.Findings[i].String())
	}
	if err := b.stages(ctx); err != nil {
		return nil, err
	}
	if err := checks.Err(); err != nil {
		return nil, err
	}
	return b.finish(ctx, b.done[target])
}

// finish writes the image of the last stage.
func (b *build) finish(ctx context.Context, st *stage) (*Result, error) {
	b.unused()
	names, err := st.names()
	if err != nil {
		return nil, err
	}
	st.part = b.console.list[len(b.needed)]
	st.say("COMMIT %s", strings.Join(b.o.Tags[:min(1, len(b.o.Tags))], ""))
	img, err := st.image(ctx, names)
	if err != nil {
		return nil, err
	}
	st.event(Event{Kind: "image", Text: img.ID()})
	b.printf("--> %s\n", img.ID()[:12])
	for _, n := range img.Names() {
		if len(names) > 0 {
			b.printf("Successfully tagged %s\n", n)
		}
	}
	b.pushCache(ctx)
	return &Result{Image: img}, nil
}

// hint is a warning about a file that does what it says: not for who wants no words.
func (b *build) hint(text string) {
	if !b.o.Quiet {
		b.warn(text)
	}
}

// warn says something that the user should know though the build goes on.
func (b *build) warn(text string) {
	if b.o.Log != nil {
		b.o.Log.Warn(text)
	}
}

// unused tells of build arguments that nothing declared.
func (b *build) unused() {
	used := b.declared()
	var names []string
	for k := range b.o.Args {
		if !used[k] && !expand.IsProxy(k) && k != "SOURCE_DATE_EPOCH" {
			names = append(names, k)
		}
	}
	if len(names) > 0 {
		slices.Sort(names)
		text := fmt.Sprintf("[Warning] one or more build args were not consumed: %v", names)
		b.event(Event{Kind: "warning", Text: text})
		b.printf("%s\n", text)
	}
}

func (b *build) printf(format string, args ...any) {
	if !b.o.Quiet && b.o.Out != nil {
		fmt.Fprintf(b.o.Out, format, args...)
	}
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

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
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder"
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
	// Further says where in File other build files begin.
	Further []plan.Further
	// IgnoreFile is a file of the host, empty for none.
	IgnoreFile string
	Target     string
	// Platforms are those to build for; none is the one of Pull.
	Platforms []builder.Platform
	// List makes a list of one platform's image too.
	List bool
	// Manifest is a list in local storage that gets the images; it is made if it is not there.
	Manifest string
	// Args are the values of --build-arg.
	// Some mean something without an ARG ([ArgKeepGit] and those below it).
	Args map[string]string
	// Tags are names in local storage, of the list if there are several platforms.
	Tags []string
	// Shown is what the line of the commit calls the image; empty is the first of Tags.
	Shown string
	Pull  builder.PullOptions
	Box   builder.Sandbox
	// Users is the user namespace of RUN. It changes no result: owners in layers are those that commands see.
	Users builder.Users
	// Allow are the entitlements that RUN may use: security.insecure and network.host ([CheckAllow]).
	Allow []string
	// Mounts are for every RUN; Secrets and Agents are what mounts may ask for.
	Mounts  []builder.Mount
	Secrets []builder.Secret
	Agents  []builder.Agent
	Output  builder.Output
	// ContextTime is what SOURCE_DATE_EPOCH=context means ([Context]); nil leaves it without effect.
	ContextTime *time.Time
	// SBOM is made of the image and of Context; its scanner is pulled as Pull says.
	SBOM builder.SBOM
	// Labels and Annotations are "k=v", set last. PlatformAnnotations are for the image of one platform ([builder.Platform.OrHost]),
	// EntryAnnotations for what the list of the images says of one (of each with the zero platform), IndexAnnotations for the list.
	Labels, Annotations                   []string
	PlatformAnnotations, EntryAnnotations map[builder.Platform][]string
	IndexAnnotations                      map[string]string
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
	// NoIDs leaves out the lines that name what a step and the build have made by its ID: it is asked for elsewhere.
	NoIDs bool
	// Progress is told of what happens, one event at a time; nil is nobody.
	Progress func(Event)
	// CacheFrom are remote caches to look steps up in, CacheTo those that get the steps (builder.RemoteCache).
	CacheFrom, CacheTo []string
	// CacheLimit is kept at the end of a build; nil is none.
	CacheLimit *builder.CacheLimit
	// Policy says which images may be used; nil is all.
	Policy *SourcePolicy
	// AllStages builds the stages too that the target does not need.
	AllStages bool
	// SaveStages keeps each stage but the last one as a nameless image, with LayerLabels ("k=v"). StageLabels puts a LABEL into all
	// stages that says where they come from.
	SaveStages, StageLabels bool
	LayerLabels             []string
	// OSVersion and OSFeatures ("f", or "f-" to remove it) are set in the image.
	OSVersion  string
	OSFeatures []string
	// CompatVolumes takes back what RUN changes below volumes, as docker's classic builder does.
	CompatVolumes bool
	// Keep leaves a working container of a step that fails (KeptError), KeepAll one of each stage of a build that succeeds.
	Keep, KeepAll bool
	// Shell is where a shell is opened in the container of a RUN that fails; nil is nowhere.
	Shell *builder.Stdio
	// Stdin is given to RUN; nil is empty.
	Stdin *os.File
	// LogUsage prints after each step what was used for it, to Usage if that is not nil.
	LogUsage bool
	Usage    io.Writer
	// Jobs is how many commands run at once, of stages that do not need each other, and how many images are pulled; 0 is as many as
	// there are CPUs for this process. With 1 the stages are built one after the other.
	Jobs int
	// Outs replace Out and Err of one platform.
	Outs map[builder.Platform]io.Writer
	// Out gets the steps and the output of RUN, Err what RUN writes to its standard error. Quiet leaves out the steps.
	Out, Err io.Writer
	Quiet    bool
	// Log gets warnings; nil discards them.
	Log *slog.Logger
}

// Result is what was built.
type Result struct {
	// Images are those of the platforms, in the order of Options.Platforms.
	Images []*builder.Image
	// Index is the list of the images: of a build for several platforms, or the one that Options.Manifest names.
	Index *builder.Index
}

// A StepError says which instruction failed.
type StepError struct {
	Text string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("building at STEP \"%s\": %v", e.Text, e.Err) }

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// build is the state of the build for one platform.
type build struct {
	*job
	o        Options // Pull.Platform is the platform
	plan     *plan.Plan
	global   expand.Scope
	done     []*stage                   // by index, once making has ended
	making   []*making                  // by index; those of the graph are there from its start
	foreseen []func() (foreseen, error) // by index, once the global scope is known
	target   int
	needed   []int
}

// Build builds the target of a Dockerfile, for each platform, and gives the image its tags. Nothing is left of a build that fails,
// but the layers of the steps that succeeded, which the next build finds.
func Build(ctx context.Context, s *builder.Store, o Options) (res *Result, err error) {
	if err := o.Box.Check(); err != nil {
		return nil, err
	}
	if o.Users, err = s.SettleUsers(o.Users); err != nil {
		return nil, err
	}
	j, err := newJob(s, o)
	if err != nil {
		return nil, err
	}
	if j.context, err = rootfs.Open(o.Context, rootfs.Apply); err != nil {
		return nil, fmt.Errorf("opening build context: %w", err)
	}
	defer j.context.Close()
	defer func() {
		if err != nil {
			j.event(Event{Kind: "error", Text: err.Error()})
		}
	}()
	j.index = s.ContextIndex(o.Context)
	defer s.SaveIndex(j.index)
	using, err := s.UseCache()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, using.Close()); err == nil && o.CacheLimit != nil {
			err = s.LimitCache(ctx, *o.CacheLimit)
		}
	}()
	if err := j.openers(ctx, o); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	return j.run(ctx)
}

// prepare finds out what is to be built.
func (b *build) prepare(ctx context.Context) (err error) {
	b.plan.Replaced = func(name string) bool { _, ok := b.replaced(name); return ok }
	if err := b.globals(); err != nil {
		return err
	}
	if err := b.epoch(ctx); err != nil {
		return err
	}
	if _, instead := b.replaced(b.o.Target); instead {
		return fmt.Errorf("the target %q is not built, as --build-context gives something in its place", b.o.Target)
	}
	if b.target, err = b.plan.Target(b.o.Target); err != nil {
		return err
	}
	if b.needed, err = b.plan.Needed(b.target, b.sources); err != nil {
		return err
	}
	if b.o.AllStages {
		b.needed = nil
		for i := range b.target + 1 { // stages need earlier ones only
			if _, instead := b.replaced(b.plan.Stages[i].Name); !instead || i == b.target {
				b.needed = append(b.needed, i)
			}
		}
	}
	return b.checkMounts()
}

// finish writes the image of the last stage, which prints to out.
func (b *build) finish(ctx context.Context, names []string, out *part) (*builder.Image, error) {
	st := b.done[b.target].final(b, out)
	st.say("%s", strings.TrimSpace("COMMIT "+first(append([]string{b.o.Shown}, b.o.Tags...)...)))
	img, err := st.image(ctx, names)
	if err != nil {
		return nil, err
	}
	st.event(Event{Kind: "image", Text: img.ID()})
	st.named(img.ID())
	return img, nil
}

// hint is a warning about a file that does what it says: not for who wants no words.
func (b *build) hint(text string) {
	if !b.o.Quiet {
		b.warn(text)
	}
}

// unused tells of build arguments that nothing declared, for whatever platform.
func (j *job) unused() {
	used := map[string]bool{}
	for _, b := range j.builds {
		maps.Copy(used, b.declared())
	}
	b := j.builds[0]
	var names []string
	for k := range b.o.Args {
		if !used[k] && !consumed(k) {
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

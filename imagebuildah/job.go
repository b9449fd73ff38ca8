package imagebuildah

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/imagebuildah/cache"
	"github.com/slipway-build/slipway/imagebuildah/plan"
	"github.com/slipway-build/slipway/internal/graph"
)

// A job is one call of Build: what the builds for its platforms have in common.
type job struct {
	s       *builder.Store
	o       Options
	builds  []*build // by platform
	context *rootfs.Root
	index   *copier.Index // of the context's files
	console *console
	// commands, copies and fetches are done so many at a time: RUN, other steps, images. prepared are steps that have a workspace: those, and
	// the next ones.
	commands, copies, fetches, prepared *graph.Places
	// contexts are those of --build-context, by contextName; closers are what has been opened of them.
	contexts map[string]named
	closers  []func() error
	layouts  []string // images of contexts that are in layouts of this machine
	// remotes are the caches of CacheFrom, read when the first step is missing.
	remotes     []*builder.RemoteCache
	remotesOnce sync.Once
	watching    sync.Mutex  // held while Progress is called
	shelled     atomic.Bool // a shell has been opened for a step that failed
	mu          sync.Mutex  // guards closers, making and what follows
	pulls       map[string]*pulling
	shared      map[string]*sharing
	warned      map[string]bool
	steps       map[string]chan struct{} // see doing
	listings    map[string]string        // of content, by its text in keys
	listed      int                      // bytes of listings
	epochs      map[string]*time.Time    // of what SOURCE_DATE_EPOCH named
	notes       []cache.Input            // of earlier builds, see remember
}

// newJob reads the build file. Each platform has its own copy of it, as variables give stages names.
func newJob(s *builder.Store, o Options) (*job, error) {
	j := &job{s: s, o: o, pulls: map[string]*pulling{}, shared: map[string]*sharing{}, warned: map[string]bool{}, steps: map[string]chan struct{}{}, listings: map[string]string{}, epochs: map[string]*time.Time{}}
	jobs := cmp.Or(o.Jobs, runtime.GOMAXPROCS(0)) // the limit of a pod counts, not the CPUs of its node
	j.commands, j.copies, j.fetches, j.prepared = graph.NewPlaces(jobs), graph.NewPlaces(jobs), graph.NewPlaces(jobs), graph.NewPlaces(2*jobs)
	if o.File == nil {
		return nil, errors.New("no build file is given: Options.File is nil")
	}
	p, err := plan.Parse(o.Name, o.File, o.Further...)
	if err != nil {
		return nil, err
	}
	if o.Box, err = s.WithDefaults(o.Box); err != nil {
		return nil, err
	}
	if o.Box.Security, err = o.Box.Security.Labelled(); err != nil {
		return nil, err
	}
	platforms := o.Platforms
	if len(platforms) == 0 {
		platforms = []builder.Platform{o.Pull.Platform}
	}
	for n, platform := range platforms {
		if n > 0 {
			if p, err = plan.Parse(o.Name, strings.NewReader(p.Text), o.Further...); err != nil {
				return nil, err
			}
		}
		b := &build{job: j, o: o, plan: p, done: make([]*stage, len(p.Stages)), making: make([]*making, len(p.Stages))}
		b.o.Pull.Platform = platform
		b.o.Annotations = slices.Concat(o.Annotations, o.PlatformAnnotations[platform.OrHost()])
		for i := range p.Stages {
			b.foreseen = append(b.foreseen, sync.OnceValues(func() (foreseen, error) { return b.foresee(i) }))
		}
		if w := o.Outs[platform]; w != nil {
			b.o.Out, b.o.Err = w, w
		}
		j.builds = append(j.builds, b)
	}
	return j, nil
}

// several tells whether there is a list of images, as a rule since they are of several platforms.
func (j *job) several() bool { return j.o.List || len(j.builds) > 1 }

// run builds.
func (j *job) run(ctx context.Context) (*Result, error) {
	names, err := j.s.FullNames(j.o.Tags)
	if err != nil {
		return nil, err
	}
	if err := j.s.CheckIndex(j.o.Manifest); err != nil {
		return nil, err
	}
	for _, b := range j.builds {
		if err := b.prepare(ctx); err != nil {
			return nil, err
		}
	}
	j.builds[0].checkFilter()
	checks, err := j.builds[0].lint(ctx)
	if err != nil {
		return nil, err
	}
	for i := range checks.Findings {
		j.builds[0].hint(checks.Findings[i].String())
	}
	j.remember()
	if err := j.stages(ctx); err != nil {
		return nil, err
	}
	if err := checks.Err(); err != nil {
		return nil, err
	}
	return j.finish(ctx, names)
}

// finish writes the images, and the list of them.
func (j *job) finish(ctx context.Context, names []string) (*Result, error) {
	j.unused()
	res := &Result{}
	own := names
	if j.several() {
		own = nil
	}
	parts := j.console.list[len(j.console.list)-len(j.builds):]
	for n, b := range j.builds {
		img, err := b.finish(ctx, own, parts[n])
		if err != nil {
			return nil, err
		}
		parts[n].close()
		res.Images = append(res.Images, img)
	}
	tagged := res.Images[0].Names()
	if j.several() || j.o.Manifest != "" {
		if err := j.list(ctx, res, names); err != nil {
			return nil, err
		}
		if j.several() {
			tagged = res.Index.Names()
			j.event(Event{Kind: "image", Text: res.Index.ID()})
		}
	}
	for _, n := range tagged {
		if len(names) > 0 {
			j.builds[0].printf("Successfully tagged %s\n", n)
		}
	}
	j.pushCache(ctx)
	if j.o.KeepAll {
		return res, j.containers(ctx)
	}
	return res, nil
}

// list makes one list of the images, or adds them to the one that the caller named.
func (j *job) list(ctx context.Context, res *Result, names []string) (err error) {
	var ids []string
	var entries []builder.NewEntry
	for n, img := range res.Images {
		ids = append(ids, img.ID())
		entries = append(entries, builder.NewEntry{ID: img.ID(), Annotations: j.entryAnnotations(j.builds[n].platform())})
	}
	if j.o.Manifest == "" {
		res.Index, err = j.s.NewIndexOf(ctx, entries, names, j.o.IndexAnnotations)
		return err
	}
	if res.Index, _, err = j.s.AddToIndex(ctx, j.o.Manifest, ids, builder.EntryOptions{}, true); err != nil {
		return err
	}
	for _, e := range entries {
		if len(e.Annotations) > 0 {
			if res.Index, _, err = j.s.AnnotateIndex(ctx, j.o.Manifest, e.ID, builder.EntryOptions{Annotations: e.Annotations}); err != nil {
				return err
			}
		}
	}
	if len(j.o.IndexAnnotations) > 0 {
		if res.Index, err = j.s.AnnotateWhole(ctx, j.o.Manifest, j.o.IndexAnnotations, "", j.o.Pull.Registry); err != nil {
			return err
		}
	}
	if !j.several() || len(names) == 0 {
		return nil
	}
	if err = j.s.Tag(res.Index.ID(), names...); err == nil {
		res.Index, err = j.s.Index(res.Index.ID())
	}
	return err
}

// entryAnnotations are what the list says of the image for a platform.
func (j *job) entryAnnotations(p builder.Platform) map[string]string {
	m := map[string]string{}
	for _, kv := range append(slices.Clone(j.o.EntryAnnotations[builder.Platform{}]), j.o.EntryAnnotations[p]...) {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

// warn says something that the user should know though the build goes on, once however many platforms it is about.
func (j *job) warn(text string) {
	j.mu.Lock()
	said := j.warned[text]
	j.warned[text] = true
	j.mu.Unlock()
	if j.o.Log != nil && !(said && j.several()) {
		j.o.Log.Warn(text)
	}
}

// platform is what the build is for.
func (b *build) platform() builder.Platform { return b.o.Pull.Platform.OrHost() }

// prefix is put before the lines of a build that is one of several.
func (b *build) prefix() string {
	if !b.several() {
		return ""
	}
	return fmt.Sprintf("[%s] ", b.platform())
}

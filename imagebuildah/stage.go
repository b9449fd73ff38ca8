package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// stage is a stage being built: the configuration so far and the layer it stands on.
type stage struct {
	b       *build
	def     plan.Stage
	cfg     *config.Image
	base    *builder.Image // the outside image at the bottom, nil for scratch
	baseRef string
	scope   expand.Scope           // what words are expanded with and RUN gets
	fired   []instructions.Command // ONBUILD of the base
	top     string                 // layer
	// chain is the key of the last step, empty where only the layer says what the next one stands on; bottom says that the next one stands
	// on nothing; executed is the first step since then that was not found.
	chain, executed string
	bottom          bool
	cmdSet          bool
	touched         bool // an instruction has been executed
	newFrom         int  // the first history entry of this build
	own             int  // the first history entry of this stage
	work            *builder.Workspace
	part            *part // where it prints
	queue           []queued
	keyed           []builder.RemoteStep // results that bear keys, for remote caches
	caches          []builder.CacheMount // used by what was executed, for remote caches too
	current         *step                // the one being resolved
	saved           string               // the ID of the image that keeps it
	loose           bool                 // files changed while they were copied: what stands on them bears no key either
}

// stage builds one stage, which prints to out: it resolves instructions, looks for the results from the end, and does the rest.
func (b *build) stage(ctx context.Context, i int, out *part) (err error) {
	st := &stage{b: b, def: b.plan.Stages[i], part: out}
	st.event(Event{Kind: "stage", Text: st.def.SourceCode, Steps: len(st.def.Commands) + 1})
	start := b.usage()
	if err := st.from(ctx); err != nil {
		return b.plan.At(st.def.Location, &StepError{st.def.SourceCode, err})
	}
	st.used(start)
	st.own = len(st.cfg.History)
	defer func() {
		if st.work != nil {
			if derr := st.work.Discard(); err == nil {
				err = derr
			}
		}
	}()
	if err := st.triggers(); err != nil {
		return err
	}
	if b.several() {
		made, serr := st.share(ctx)
		if made == nil || serr != nil {
			return serr
		}
		defer func() { made(b.done[i], err) }()
	}
	for n, cmd := range st.def.Commands {
		label := fmt.Sprintf("STEP %d/%d", n+2, len(st.def.Commands)+1)
		st.queue = append(st.queue, queued{label, cmd, cmd.Location(), n + 2})
	}
	for len(st.queue) > 0 {
		steps, err := st.next(ctx)
		if err != nil {
			return err
		}
		if err := st.perform(ctx, steps); err != nil {
			return err
		}
	}
	if err := st.seal(ctx); err != nil {
		return err
	}
	if err := st.save(ctx); err != nil {
		return err
	}
	b.done[i] = st
	st.event(Event{Kind: "stage-done"})
	return nil
}

// final is the stage as the end of a build, whose it need not be: its image is written for that one.
func (st *stage) final(b *build, out *part) *stage {
	end := *st
	end.b, end.part, end.cfg = b, out, st.cfg.Clone()
	return &end
}

// queued is an instruction that waits for its turn.
type queued struct {
	label string
	cmd   instructions.Command
	where []parser.Range
	n     int // the step's number, 0 for a trigger
}

// filtered tells whether the caller wants no cached result in this stage.
func (st *stage) filtered() bool {
	return slices.ContainsFunc(st.b.o.NoCacheFilter, func(name string) bool {
		k, ok := st.b.plan.Stage(name, len(st.b.plan.Stages))
		return ok && k == st.def.Index
	})
}

// checkFilter tells of names for which there is no stage: the caller expects something to be executed, but a file may also have no such stage.
func (b *build) checkFilter() {
	for _, name := range b.o.NoCacheFilter {
		if _, ok := b.plan.Stage(name, len(b.plan.Stages)); !ok {
			b.warn(fmt.Sprintf("--no-cache-filter %s: the build file has no stage of that name%s", name, b.plan.Similar(name)))
		}
	}
}

// out and err are where commands of the stage print.
func (st *stage) out() io.Writer { return output{st, 0} }
func (st *stage) err() io.Writer { return output{st, 1} }

// printf prints a line of the build's progress.
func (st *stage) printf(format string, args ...any) {
	if !st.b.o.Quiet {
		fmt.Fprintf(stream{st.part, 0}, format, args...)
	}
}

// say prints a line with the stage's number in front when there are several.
func (st *stage) say(format string, args ...any) {
	prefix := st.b.prefix()
	if len(st.b.plan.Stages) > 1 {
		prefix += fmt.Sprintf("[%d/%d] ", st.def.Index+1, st.b.needed[len(st.b.needed)-1]+1)
	}
	st.printf("%s\n", plan.Visible(fmt.Sprintf(prefix+format, args...)))
}

func text(cmd instructions.Command) string {
	s, ok := cmd.(fmt.Stringer)
	if !ok {
		return strings.ToUpper(cmd.Name())
	}
	return s.String() + bodies(cmd)
}

// bodies shows the first line of each here-document of an instruction (exact.md §11.4).
func bodies(cmd instructions.Command) string {
	var list []string
	switch c := cmd.(type) {
	case *plan.Run:
		for _, f := range c.Files {
			list = append(list, f.Data)
		}
	case *instructions.CopyCommand:
		for _, f := range c.SourceContents {
			list = append(list, f.Data)
		}
	case *instructions.AddCommand:
		for _, f := range c.SourceContents {
			list = append(list, f.Data)
		}
	}
	text := ""
	for _, body := range list {
		first, _, more := strings.Cut(strings.TrimSpace(body), "\n")
		if more {
			first += "..."
		}
		text += " (" + first + ")"
	}
	return text
}

// execute does one instruction: an error says which, and where it stands.
func (st *stage) execute(ctx context.Context, cmd instructions.Command, where []parser.Range) error {
	raw := text(cmd)
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := st.step(ctx, cmd, raw); err != nil {
		return st.b.plan.At(where, &StepError{raw, err})
	}
	st.touched = true
	return nil
}

// seal stores the one layer of a stage that is built without layers.
func (st *stage) seal(ctx context.Context) error {
	if st.work == nil {
		return nil
	}
	l, err := st.work.Seal(ctx, "", builder.LayerOptions{Output: st.b.o.Output})
	if err != nil {
		return err
	}
	st.work, st.top = nil, l.ID
	for i := len(st.cfg.History) - 1; i >= st.own; i-- {
		st.cfg.History[i].EmptyLayer = i != len(st.cfg.History)-1
	}
	created := l.Created
	st.cfg.History[len(st.cfg.History)-1].Created = &created
	return nil
}

// fillTimes gives metadata steps the time of the next layer, or with none that of the last one below, so that an
// unchanged rebuild is the same image (decisions.md §2.4). It returns the newest time.
func (st *stage) fillTimes() time.Time {
	fixed := st.b.o.Output.Timestamp
	if fixed == nil {
		fixed = st.b.o.Output.Epoch
	}
	last := time.Unix(0, 0).UTC()
	for _, h := range st.cfg.History {
		if h.Created != nil && h.Created.After(last) {
			last = *h.Created
		}
	}
	next := last
	for i := len(st.cfg.History) - 1; i >= st.newFrom; i-- {
		h := &st.cfg.History[i]
		switch {
		case fixed != nil:
			t := fixed.UTC()
			h.Created = &t
		case h.Created == nil:
			t := next
			h.Created = &t
		default:
			next = *h.Created
		}
	}
	if fixed != nil {
		return fixed.UTC()
	}
	return last
}

// image writes the image of the stage. A stage that is only FROM is its base under more names (exact.md §14.1).
func (st *stage) image(ctx context.Context, names []string) (*builder.Image, error) {
	o := st.b.o
	if slices.Contains(o.UnsetAnnotations, "org.opencontainers.image.created") {
		o.Output.NoCreatedAnnotation = true // it would be set when the image is written
	}
	if !st.touched && st.base != nil && !o.edits() && !o.Output.Squash && !o.SBOM.On() {
		if err := st.b.s.Tag(st.base.ID(), names...); err != nil {
			return nil, err
		}
		return st.b.s.Image(st.base.ID())
	}
	for _, l := range o.Labels {
		k, v, _ := strings.Cut(l, "=")
		if err := config.Label(k, v)(st.cfg); err != nil {
			return nil, err
		}
		st.history(config.History{CreatedBy: fmt.Sprintf("/bin/sh -c #(nop) LABEL %q=%q", k, v), EmptyLayer: true})
	}
	st.inherit()
	for _, a := range o.Annotations {
		k, v, _ := strings.Cut(a, "=")
		if err := config.Annotation(k, v)(st.cfg); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(st.unset(), st.system()); err != nil {
		return nil, err
	}
	st.tellAnnotations()
	created := st.fillTimes()
	st.cfg.Created = &created
	if o.SBOM.On() {
		if err := st.sbom(ctx, created); err != nil {
			return nil, err
		}
	}
	if o.Output.Squash {
		return st.squashed(ctx, names, o.Output)
	}
	return st.writeImage(ctx, st.top, names, o.Output)
}

// writeImage writes the image with the layers that end in top.
func (st *stage) writeImage(ctx context.Context, top string, names []string, o builder.Output) (*builder.Image, error) {
	base := ""
	if st.base != nil {
		base = st.base.TopLayer()
	}
	top, err := st.b.s.ForOS(ctx, st.cfg, base, top, o)
	if err != nil {
		return nil, err
	}
	return st.b.s.WriteImage(ctx, st.cfg, top, names, o)
}

// sbom makes a bill of materials and puts it on top, if it is meant for the image.
func (st *stage) sbom(ctx context.Context, created time.Time) (err error) {
	o := st.b.o
	sbom := o.SBOM
	sbom.Pull = builder.PullOptions{Policy: o.Pull.Policy, Registry: o.Pull.Registry, Report: o.Pull.Report}
	known := len(st.cfg.History)
	if st.top, err = st.b.s.AddSBOM(ctx, st.cfg, st.top, []string{o.Context}, sbom, o.Output); err != nil {
		return err
	}
	for i := range st.cfg.History[known:] {
		st.cfg.History[known+i].Created = &created
	}
	return nil
}

// tellAnnotations appends what the options say of annotations to the last step of the history (containers.md §11.3): they are in the manifest
// only, and images whose configurations are the same would be one image in storage.
func (st *stage) tellAnnotations() {
	o := st.b.o
	texts := slices.Clone(o.Annotations)
	for _, name := range o.UnsetAnnotations {
		texts = append(texts, "unsetAnnotation="+name)
	}
	if o.DropAnnotations {
		texts = append(texts, "inheritAnnotations=false")
	}
	if len(texts) == 0 || o.Output.Format == builder.FormatDocker {
		return
	}
	if len(st.cfg.History) == st.newFrom {
		st.history(config.History{CreatedBy: "/bin/sh -c #(nop) ANNOTATION ", EmptyLayer: true})
	}
	st.cfg.History[len(st.cfg.History)-1].CreatedBy += "|" + strings.Join(texts, "|")
}

// edits tells whether the options change the image's configuration, beside what the instructions do.
func (o *Options) edits() bool {
	return len(o.Labels)+len(o.Annotations)+len(o.Env)+len(o.UnsetEnv)+len(o.UnsetLabels)+len(o.UnsetAnnotations)+len(o.OSFeatures) > 0 ||
		o.OSVersion != "" || o.DropLabels || o.DropAnnotations
}

// inherit sets the annotations that come from the base.
func (st *stage) inherit() {
	if st.b.o.DropAnnotations {
		st.cfg.Annotations = map[string]string{}
		return
	}
	st.baseAnnotations()
}

// system sets what the image says of the system that it needs.
func (st *stage) system() error {
	if v := st.b.o.OSVersion; v != "" {
		if err := config.OSVersion(v)(st.cfg); err != nil {
			return err
		}
	}
	for _, f := range st.b.o.OSFeatures {
		if err := config.EditOSFeature(f)(st.cfg); err != nil {
			return err
		}
	}
	return nil
}

// unset takes out what the caller does not want.
func (st *stage) unset() error {
	o := &st.b.o
	for _, list := range []struct {
		names []string
		unset func(string) config.Change
	}{{o.UnsetEnv, config.UnsetEnv}, {o.UnsetLabels, config.UnsetLabel}, {o.UnsetAnnotations, config.UnsetAnnotation}} {
		for _, k := range list.names {
			if err := list.unset(k)(st.cfg); err != nil {
				return err
			}
		}
	}
	return nil
}

func (st *stage) baseAnnotations() {
	if st.cfg.Annotations == nil {
		st.cfg.Annotations = map[string]string{}
	}
	delete(st.cfg.Annotations, "org.opencontainers.image.base.name")
	delete(st.cfg.Annotations, "org.opencontainers.image.base.digest")
	if st.base == nil {
		return
	}
	st.cfg.Annotations["org.opencontainers.image.base.digest"] = st.base.Digest().String()
	if name := st.base.Named(st.baseRef); name != "" {
		st.cfg.Annotations["org.opencontainers.image.base.name"] = name
	}
}

// squashed writes the image with one layer for everything.
func (st *stage) squashed(ctx context.Context, names []string, o builder.Output) (*builder.Image, error) {
	l, err := st.b.s.SquashLayer(ctx, st.top, o)
	if err != nil {
		return nil, err
	}
	by := "/bin/sh"
	if n := len(st.cfg.History); n > 0 {
		by = st.cfg.History[n-1].CreatedBy
	}
	st.cfg.History = []config.History{{Created: st.cfg.Created, CreatedBy: by}}
	return st.writeImage(ctx, l.ID, names, o)
}

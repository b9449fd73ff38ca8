package imagebuildah

import (
	"context"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/imagebuildah/lint"
)

// Check looks for what builds, but is likely not meant (dockerfile.md §14), and prints what it finds to o.Out with its place
// in the file. Nothing is pulled or executed: of base images it knows what local storage does. It returns how many rules are not
// kept; an error is about a file that cannot be built, or asks to fail ("# check=error=true").
func Check(ctx context.Context, s *builder.Store, o Options) (int, error) {
	j, err := newJob(s, o)
	if err != nil {
		return 0, err
	}
	b := j.builds[0] // what is found is told once (dockerfile.md §14)
	p := b.plan
	if err := b.globals(); err != nil {
		return 0, err
	}
	if o.Target != "" {
		target, err := p.Target(o.Target)
		if err != nil {
			return 0, err
		}
		if b.needed, err = p.Needed(target, b.sources); err != nil {
			return 0, err
		}
	}
	res, err := b.lint(ctx)
	if err != nil {
		return 0, err
	}
	for _, f := range res.Findings {
		b.printf("\nWARNING: %s - %s\n%s\n%s", f.Rule, f.URL, f.Message, p.Excerpt(f.Where))
	}
	switch n := len(res.Findings); n {
	case 0:
		b.printf("Check complete, no warnings found.\n")
	case 1:
		b.printf("\nCheck complete, 1 warning has been found!\n")
	default:
		b.printf("\nCheck complete, %d warnings have been found!\n", n)
	}
	return len(res.Findings), res.Err()
}

// lint checks the stages that are needed, or all if that is not known.
func (b *build) lint(ctx context.Context) (*lint.Result, error) {
	in := lint.Input{Plan: b.plan, Args: b.o.Args, Stages: b.needed, Automatic: b.global.Env}
	if want := b.o.Pull.Platform; want != (builder.Platform{}) {
		in.Platform = want.String()
	}
	known := map[string]*config.Image{}
	in.Base = func(_ int, name string) *config.Image {
		cfg, ok := known[name]
		if !ok {
			if img, err := b.s.Image(name); err == nil {
				cfg, _ = img.Config(ctx) // what cannot be read is not known
			}
			known[name] = cfg
		}
		return cfg
	}
	var err error
	if in.Ignored, err = ignored(b.o.IgnoreFile); err != nil {
		return nil, err
	}
	return lint.Check(in)
}

// ignored tells which paths an ignore file excludes; nil when patterns take back, as only the files themselves would say then.
func ignored(file string) (func(string) bool, error) {
	rules, err := copier.ReadIgnore(file)
	if err != nil || rules == nil || rules.TakesBack() {
		return nil, err
	}
	return func(name string) bool {
		if name == "" || name == "." {
			name = "any name at all" // is everything excluded?
		}
		return rules.Excluded(name)
	}, nil
}

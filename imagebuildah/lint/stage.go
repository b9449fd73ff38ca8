package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
)

// A chain is what is known of a stage and of those below it.
type chain struct {
	scope   expand.Scope
	outside string // the image at the bottom, whose variables are asked for when one is missing
	bottom  int    // the stage that is built on it
	shell   bool   // SHELL was used
	workdir bool   // WORKDIR was used
}

// stage applies the rules that follow a stage's variables and configuration.
func (c *checker) stage(i int) {
	c.from(i)
	c.walk(i, true)
}

// walk follows the instructions of a stage, and says what is wrong with them if it is to.
func (c *checker) walk(i int, say bool) *chain {
	if done := c.known[i]; done != nil && !say {
		return done
	}
	st := c.in.Plan.Stages[i]
	ch := &chain{scope: expand.Scope{Escape: c.in.Plan.Escape}, bottom: i}
	global := c.given
	name, err := global.Expand(st.BaseName)
	if k, ok := c.in.Plan.Stage(name, i); ok && err == nil {
		below := *c.walk(k, false)
		ch = &below
	} else {
		ch.outside = name
		ch.scope.Set("PATH", "") // which a build sets where the base doesn't
	}
	w := &walker{checker: c, chain: ch, global: global, last: map[string][]parser.Range{}, mute: !say}
	for _, cmd := range st.Commands {
		w.instruction(cmd)
	}
	c.known[i] = ch
	return ch
}

// from applies the rules on a FROM line.
func (c *checker) from(i int) {
	st := c.in.Plan.Stages[i]
	if st.Name != "" {
		if k, ok := c.in.Plan.Stage(st.Name, i); ok && c.in.Plan.Stages[k].Name == st.Name {
			c.say(&linter.RuleDuplicateStageName, st.Location, linter.RuleDuplicateStageName.Format(st.Name))
		}
		if st.Name == "scratch" || st.Name == "context" {
			c.say(&linter.RuleReservedStageName, st.Location, linter.RuleReservedStageName.Format(st.Name))
		}
	}
	global := c.given
	for _, word := range []string{st.BaseName, st.Platform} {
		_, unset, _ := global.Word(word) // an error is the build's to say
		for _, name := range unset {
			c.say(&linter.RuleUndefinedArgInFrom, st.Location, linter.RuleUndefinedArgInFrom.Format(name, similar(name, global.Env, global.Declared)))
		}
	}
	c.platform(i)
	c.defaultBase(i)
	c.basePlatform(i, global)
}

// platform looks at FROM --platform.
func (c *checker) platform(i int) {
	st := c.in.Plan.Stages[i]
	switch p := st.Platform; {
	case p == "$TARGETPLATFORM", p == "${TARGETPLATFORM}":
		c.say(&linter.RuleRedundantTargetPlatform, st.Location, linter.RuleRedundantTargetPlatform.Format("$TARGETPLATFORM"))
	case p != "" && !strings.Contains(p, "$"):
		for _, part := range strings.Split(p, "/")[:min(2, strings.Count(p, "/")+1)] {
			if part != "" && strings.Contains(st.Name, strings.ToLower(part)) {
				return
			}
		}
		c.say(&linter.RuleFromPlatformFlagConstDisallowed, st.Location, linter.RuleFromPlatformFlagConstDisallowed.Format(p))
	}
}

// defaultBase looks whether FROM names an image when no build argument is given.
func (c *checker) defaultBase(i int) {
	st := c.in.Plan.Stages[i]
	if !strings.Contains(st.BaseName, "$") {
		return
	}
	name, err := c.defaults.Expand(st.BaseName)
	if err == nil && !imageName(name) {
		c.say(&linter.RuleInvalidDefaultArgInFrom, st.Location, linter.RuleInvalidDefaultArgInFrom.Format(st.BaseName))
	}
}

// imageName tells whether a text can name an image: with a transport, or as host/path:tag@digest.
func imageName(text string) bool {
	for _, transport := range []string{"docker://", "containers-storage:", "oci:", "oci-archive:", "docker-archive:", "dir:"} {
		if rest, ok := strings.CutPrefix(text, transport); ok && rest != "" {
			return true
		}
	}
	part := `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*`
	return regexp.MustCompile(`^(?:[a-zA-Z0-9.\-\[\]:]+/)?` + part + `(?:/` + part + `)*(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?$`).MatchString(text)
}

// basePlatform compares the platform of a base image that is at hand with the one wanted.
func (c *checker) basePlatform(i int, global *expand.Scope) {
	st := c.in.Plan.Stages[i]
	want := c.in.Platform
	if st.Platform != "" {
		want, _ = global.Expand(st.Platform)
	}
	name, err := global.Expand(st.BaseName)
	if _, stage := c.in.Plan.Stage(name, i); err != nil || stage || name == builder.Scratch || want == "" || c.in.Base == nil {
		return
	}
	cfg := c.in.Base(i, name)
	p, err := builder.ParsePlatform(want)
	if cfg == nil || err != nil {
		return
	}
	p = p.OrHost()
	if cfg.OS != p.OS || cfg.Architecture != p.Arch {
		got := builder.Platform{OS: cfg.OS, Arch: cfg.Architecture, Variant: cfg.Variant}
		c.say(&linter.RuleInvalidBaseImagePlatform, st.Location, linter.RuleInvalidBaseImagePlatform.Format(name, p.String(), got.String()))
	}
}

// A walker goes through the instructions of one stage.
type walker struct {
	*checker
	*chain
	global *expand.Scope
	last   map[string][]parser.Range // where a CMD, ENTRYPOINT or HEALTHCHECK of this stage stands
	mute   bool
}

func (w *walker) say(rule linter.LinterRuleI, where []parser.Range, message string) {
	if !w.mute {
		w.checker.say(rule, where, message)
	}
}

func (w *walker) instruction(cmd instructions.Command) {
	where := cmd.Location()
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		w.arg(c)
	case *instructions.EnvCommand:
		w.pairs("ENV", c.Env, where)
		w.env(c)
	case *instructions.LabelCommand:
		w.pairs("LABEL", c.Labels, where)
	case *instructions.CmdCommand:
		w.single("CMD", where)
		w.json("CMD", c.ShellDependantCmdLine, where)
	case *instructions.EntrypointCommand:
		w.single("ENTRYPOINT", where)
		w.json("ENTRYPOINT", c.ShellDependantCmdLine, where)
	case *instructions.HealthCheckCommand:
		w.single("HEALTHCHECK", where)
	case *instructions.ShellCommand:
		w.shell = true
	case *instructions.WorkdirCommand:
		dir := w.word(c.Path, where)
		if !w.workdir && !strings.HasPrefix(dir, "/") {
			w.say(&linter.RuleWorkdirRelativePath, where, linter.RuleWorkdirRelativePath.Format(dir))
		}
		w.workdir = true
	case *instructions.ExposeCommand:
		w.expose(c)
	case *instructions.CopyCommand:
		w.words(where, append([]string{c.Chown, c.Chmod, c.DestPath}, c.SourcePaths...)...)
		if c.From == "" {
			w.ignored("Copy", c.SourcePaths, where)
		}
	case *instructions.AddCommand:
		w.words(where, append([]string{c.Chown, c.Chmod, c.Checksum, c.DestPath}, c.SourcePaths...)...)
		w.ignored("Add", c.SourcePaths, where)
	case *instructions.UserCommand:
		w.words(where, c.User)
	case *instructions.VolumeCommand:
		w.words(where, c.Volumes...)
	case *instructions.StopSignalCommand:
		w.words(where, c.Signal)
	}
}

func (w *walker) arg(c *instructions.ArgCommand) {
	for _, a := range c.Args {
		if secret(a.Key) {
			w.say(&linter.RuleSecretsUsedInArgOrEnv, c.Location(), linter.RuleSecretsUsedInArgOrEnv.Format("ARG", a.Key))
		}
		if _, given := w.in.Args[a.Key]; a.Value != nil && !given {
			w.word(*a.Value, c.Location())
		}
		_ = w.scope.Arg(&instructions.ArgCommand{Args: []instructions.KeyValuePairOptional{a}}, w.in.Args, w.global.Env)
	}
}

func (w *walker) pairs(verb string, kvs instructions.KeyValuePairs, where []parser.Range) {
	for _, kv := range kvs {
		if kv.NoDelim {
			w.say(&linter.RuleLegacyKeyValueFormat, where, linter.RuleLegacyKeyValueFormat.Format(verb))
		}
		if verb == "ENV" && secret(kv.Key) {
			w.say(&linter.RuleSecretsUsedInArgOrEnv, where, linter.RuleSecretsUsedInArgOrEnv.Format(verb, kv.Key))
		}
		w.words(where, kv.Key, kv.Value)
	}
}

func (w *walker) env(c *instructions.EnvCommand) {
	before := w.scope
	for _, kv := range c.Env {
		key, err1 := before.Expand(kv.Key)
		value, err2 := before.Expand(kv.Value)
		if err1 == nil && err2 == nil {
			w.scope.Set(key, value)
		}
	}
}

// single finds instructions of which only the last one counts; the earlier one is what should go.
func (w *walker) single(verb string, where []parser.Range) {
	if earlier := w.last[verb]; earlier != nil {
		w.say(&linter.RuleMultipleInstructionsDisallowed, earlier, linter.RuleMultipleInstructionsDisallowed.Format(verb))
	}
	w.last[verb] = where
}

func (w *walker) json(verb string, line instructions.ShellDependantCmdLine, where []parser.Range) {
	if !line.PrependShell || w.shell {
		return
	}
	if cfg := w.base(); cfg != nil && len(cfg.Config.Shell) > 0 {
		return
	}
	w.say(&linter.RuleJSONArgsRecommended, where, linter.RuleJSONArgsRecommended.Format(verb))
}

func (w *walker) expose(c *instructions.ExposeCommand) {
	for _, text := range c.Ports {
		w.word(text, c.Location())
		ports, err := w.scope.Words(text)
		if err != nil {
			continue
		}
		for _, p := range ports {
			spec, proto, _ := strings.Cut(p, "/")
			if proto != strings.ToLower(proto) {
				w.say(&linter.RuleExposeProtoCasing, c.Location(), linter.RuleExposeProtoCasing.Format(p))
			}
			if strings.Contains(spec, ":") {
				w.say(&linter.RuleExposeInvalidFormat, c.Location(), linter.RuleExposeInvalidFormat.Format(p))
			}
		}
	}
}

// ignored finds literal sources that the ignore file excludes.
func (w *walker) ignored(verb string, sources []string, where []parser.Range) {
	if w.in.Ignored == nil {
		return
	}
	for _, text := range sources {
		src, err := w.scope.Expand(text)
		if err != nil || strings.ContainsAny(src, "*?[") || strings.Contains(src, "://") {
			continue
		}
		if name := strings.Trim(strings.TrimPrefix(src, "./"), "/"); w.in.Ignored(name) {
			w.say(&linter.RuleCopyIgnoredFile, where, linter.RuleCopyIgnoredFile.Format(verb, src))
		}
	}
}

func (w *walker) words(where []parser.Range, list ...string) {
	for _, word := range list {
		w.word(word, where)
	}
}

// word expands a word and says which of its variables mean nothing.
func (w *walker) word(word string, where []parser.Range) string {
	out, unset, _ := w.scope.Word(word) // an error is the build's to say
	for _, name := range unset {
		env := w.scope.Env
		if w.outside != builder.Scratch && w.outside != "" {
			cfg := w.base()
			if cfg == nil || slices.ContainsFunc(cfg.Config.Env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") }) {
				continue // it may well come from the image
			}
			env = append(slices.Clone(env), cfg.Config.Env...)
		}
		w.say(&linter.RuleUndefinedVar, where, linter.RuleUndefinedVar.Format(name, similar(name, env, w.scope.Declared)))
	}
	return out
}

// base is the configuration of the image at the bottom, nil if it is not at hand.
func (w *walker) base() *config.Image {
	if w.in.Base == nil || w.outside == builder.Scratch || w.outside == "" {
		return nil
	}
	return w.in.Base(w.bottom, w.outside)
}

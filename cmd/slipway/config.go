package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
)

func newConfigCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config [flags] CONTAINER", Short: "Change the configuration that images of a container will have",
		Example: "  config --env 'PATH=/app:$PATH' --cmd '[\"serve\"]' work\n  config --label version- --port 8080/tcp work",
		Args:    exactly(1, "container ID must be specified"),
	}
	fs := cmd.Flags()
	for _, f := range configFlags() {
		switch f.kind {
		case oneValue:
			fs.StringP(f.name, f.short, "", f.help)
		case manyValues:
			fs.StringArrayP(f.name, f.short, nil, f.help)
		case commaList:
			fs.StringSliceP(f.name, f.short, nil, f.help)
		}
	}
	addHistory := historyFlag(fs, g)
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		e := builder.Edit{CreatedBy: flag(fs, "created-by"), HistoryComment: flag(fs, "history-comment")}
		if e.Changes, err = configChanges(fs, g.env); err != nil {
			return err
		}
		if *addHistory {
			e.History = configHistory(fs)
		}
		warnEntrypoint(g, fs, c.Config().Config.Cmd)
		warnFormat(g, fs, c.Format())
		return c.Edit(e)
	})
	return cmd
}

// warnEntrypoint says what a new entrypoint makes of the command that stays (containers.md §10).
func warnEntrypoint(g *globals, fs *pflag.FlagSet, cmd []string) {
	entry := flag(fs, "entrypoint")
	if entry == nil || *entry == "" || fs.Changed("cmd") || len(cmd) == 0 {
		return
	}
	fate := "and will be passed to entrypoint as a parameter"
	if config.EntrypointWords(*entry)[0] == "/bin/sh" {
		fate = "but will be ignored because of entrypoint settings"
	}
	g.store.Log.Warn(fmt.Sprintf("cmd %q exists %s", strings.Join(cmd, " "), fate))
}

// warnFormat names what images of the container's format have no place for. Format can still be another one at commit.
func warnFormat(g *globals, fs *pflag.FlagSet, f builder.Format) {
	if f == builder.FormatDocker {
		return
	}
	for _, name := range []string{"comment", "domainname", "hostname"} {
		if text := flag(fs, name); text != nil && *text != "" {
			g.store.Log.Warn(fmt.Sprintf("%s is not supported for OCI image format, %s %s will be ignored. Must use `docker` format", strings.ToUpper(name), name, *text))
		}
	}
}

// flag returns a flag's text if it was given.
func flag(fs *pflag.FlagSet, name string) *string {
	f := fs.Lookup(name)
	if f == nil || !f.Changed {
		return nil
	}
	text := f.Value.String()
	return &text
}

// A configFlag is one flag of config; their order is that in which they are applied (cli.md §9.4).
type configFlag struct {
	name, short, help string
	kind              flagKind
	verb              string // the instruction that history names; empty for none
	change            func(text string, e env) (config.Change, error)
}

// flagKind says how often a flag may be given, and whether commas separate its values.
type flagKind int

const (
	oneValue flagKind = iota
	manyValues
	commaList
)

func plainChange(f func(string) config.Change) func(string, env) (config.Change, error) {
	return func(text string, _ env) (config.Change, error) { return f(text), nil }
}

func wordsChange(name string, f func([]string) config.Change) func(string, env) (config.Change, error) {
	return func(text string, _ env) (config.Change, error) {
		argv, err := config.Words(text)
		if err != nil {
			return nil, fmt.Errorf("parsing --%s %w", name, err)
		}
		return f(argv), nil
	}
}

func healthChange(name string, set func(*config.Healthcheck, time.Duration)) func(string, env) (config.Change, error) {
	return func(text string, _ env) (config.Change, error) {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("parsing --%s %q: %w", name, text, err)
		}
		return config.EditHealth(func(h *config.Healthcheck) { set(h, d) }), nil
	}
}

func retriesChange(text string, _ env) (config.Change, error) {
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("parsing --healthcheck-retries %q: %w", text, err)
	}
	return config.EditHealth(func(h *config.Healthcheck) { h.Retries = n }), nil
}

func envChange(text string, e env) (config.Change, error) {
	return config.EditEnv(text, e.lookup, func(name string) {
		logrus.Errorf("error expanding variable %q: no value set in configuration", name)
	})
}

func configFlags() []configFlag {
	return []configFlag{
		{"author", "", "`name` of the author", oneValue, "", plainChange(config.Author)},
		{"created-by", "", "`text` that history says made the layer", oneValue, "", nil},
		{"arch", "", "`architecture`", oneValue, "", plainChange(config.Arch)},
		{"variant", "", "architecture `variant`", oneValue, "", plainChange(config.Variant)},
		{"os", "", "operating `system`", oneValue, "", plainChange(config.OS)},
		{"os-feature", "", "operating system `feature`; f- removes, - clears", manyValues, "", plainChange(config.EditOSFeature)},
		{"os-version", "", "operating system `version`", oneValue, "", plainChange(config.OSVersion)},
		{"user", "u", "`user[:group]` of commands, by name or number", oneValue, "USER", plainChange(config.User)},
		{"shell", "", "`shell` of shell-form commands", oneValue, "SHELL", wordsChange("shell", config.Shell)},
		{"stop-signal", "", "`signal` that stops a container", oneValue, "STOPSIGNAL", plainChange(config.StopSignal)},
		{"port", "p", "`port` to expose; p- removes, - clears", commaList, "EXPOSE", plainChange(config.EditPort)},
		{"env", "e", "variable `K=V`, $X in V being the container's X; K- removes, - clears", manyValues, "ENV", envChange},
		{"entrypoint", "", "`entrypoint`, a JSON array or text for /bin/sh -c", oneValue, "ENTRYPOINT",
			plainChange(func(t string) config.Change { return config.Entrypoint(config.EntrypointWords(t)) })},
		{"cmd", "", "default `command`, a JSON array or words", oneValue, "CMD", wordsChange("cmd", config.Cmd)},
		{"volume", "v", "volume `path`; p- removes, - clears", commaList, "VOLUME", plainChange(config.EditVolume)},
		{"healthcheck", "", "health check `command`, with CMD, CMD-SHELL or NONE in front", oneValue, "HEALTHCHECK",
			func(t string, _ env) (config.Change, error) { return config.HealthWords(t) }},
		{"healthcheck-interval", "", "`time` between checks", oneValue, "", healthChange("healthcheck-interval", func(h *config.Healthcheck, d time.Duration) { h.Interval = d })},
		{"healthcheck-retries", "", "failures until unhealthy, a `number`", oneValue, "", retriesChange},
		{"healthcheck-start-period", "", "`time` in which failures do not count", oneValue, "", healthChange("healthcheck-start-period", func(h *config.Healthcheck, d time.Duration) { h.StartPeriod = d })},
		{"healthcheck-start-interval", "", "`time` between checks in the start period", oneValue, "", healthChange("healthcheck-start-interval", func(h *config.Healthcheck, d time.Duration) { h.StartInterval = d })},
		{"healthcheck-timeout", "", "`time` a check may take", oneValue, "", healthChange("healthcheck-timeout", func(h *config.Healthcheck, d time.Duration) { h.Timeout = d })},
		{"label", "l", "label `k=v`; k- removes, - clears", manyValues, "LABEL", plainChange(config.EditLabel)},
		{"unsetlabel", "", "remove a `label`", commaList, "", plainChange(config.UnsetLabel)},
		{"unsetannotation", "", "remove an `annotation`", commaList, "", plainChange(config.UnsetAnnotation)},
		{"workingdir", "", "working `dir`ectory", oneValue, "WORKDIR", plainChange(config.EditWorkdir)},
		{"comment", "", "`comment` (docker format only)", oneValue, "", plainChange(config.Comment)},
		{"history-comment", "", "`comment` of the layer's history", oneValue, "", nil},
		{"domainname", "", "domain `name` (docker format only)", oneValue, "", plainChange(config.Domainname)},
		{"hostname", "", "host `name` (docker format only)", oneValue, "", plainChange(config.Hostname)},
		{"onbuild", "", "`instruction` for builds on the image", manyValues, "ONBUILD", plainChange(config.OnBuild)},
		{"annotation", "a", "annotation `k=v`; k- removes, - clears", manyValues, "", plainChange(config.EditAnnotation)},
	}
}

func configChanges(fs *pflag.FlagSet, e env) ([]config.Change, error) {
	var changes []config.Change
	for _, f := range configFlags() {
		if f.change == nil {
			continue
		}
		for _, v := range f.values(fs) {
			c, err := f.change(v, e)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// values are what a flag was given, nothing if it was not.
func (f configFlag) values(fs *pflag.FlagSet) []string {
	given := fs.Lookup(f.name)
	if !given.Changed {
		return nil
	}
	if list, ok := given.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{given.Value.String()}
}

// configHistory is what --add-history records: an entry an instruction, with its values as typed (exact.md §9.4.2).
func configHistory(fs *pflag.FlagSet) []string {
	var entries []string
	for _, f := range configFlags() {
		values := f.values(fs)
		switch {
		case f.verb == "" || values == nil:
		case f.verb == "HEALTHCHECK":
			entries = append(entries, config.Nop(f.verb, healthText(fs, values[0])))
		case f.verb == "VOLUME" || f.verb == "ONBUILD":
			for _, v := range values {
				entries = append(entries, config.Nop(f.verb, v))
			}
		default:
			entries = append(entries, config.Nop(f.verb, strings.Join(values, " ")))
		}
	}
	return entries
}

// healthText spells a health check as HEALTHCHECK does.
func healthText(fs *pflag.FlagSet, command string) string {
	if command == "" {
		return "NONE"
	}
	var words []string
	for _, option := range []string{"interval", "retries", "start-period", "start-interval", "timeout"} {
		if v := flag(fs, "healthcheck-"+option); v != nil {
			words = append(words, "--"+option+"="+*v)
		}
	}
	return strings.Join(append(words, command), " ")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/builder/config"
)

func newConfigCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config [flags] CONTAINER", Short: "Change the configuration that images of a container will have",
		Example: "  config --env PATH=/app:$PATH --cmd '[\"serve\"]' work\n  config --label version- --port 8080/tcp work",
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("container ID must be specified")
			case 1:
				return nil
			}
			return errors.New("too many arguments specified")
		},
	}
	fs := cmd.Flags()
	for _, f := range configFlags() {
		if f.list {
			fs.StringArrayP(f.name, f.short, nil, f.help)
		} else {
			fs.StringP(f.name, f.short, "", f.help)
		}
	}
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		changes, err := configChanges(fs, g.env)
		if err != nil {
			return err
		}
		if err := c.Note(flag(fs, "created-by"), flag(fs, "history-comment")); err != nil {
			return err
		}
		if entry := fs.Lookup("entrypoint"); entry.Changed && !fs.Changed("cmd") && len(c.Config().Config.Cmd) > 0 && entry.Value.String() != "" {
			g.store.Log.Warn("cmd " + fmt.Sprint(c.Config().Config.Cmd) + " exists and will be passed to the entrypoint as a parameter")
		}
		return c.Configure(changes...)
	})
	return cmd
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
	list              bool
	change            func(text string, e env) (config.Change, error)
}

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
	var n int
	if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
		return nil, fmt.Errorf("parsing --healthcheck-retries %q: %w", text, err)
	}
	return config.EditHealth(func(h *config.Healthcheck) { h.Retries = n }), nil
}

func configFlags() []configFlag {
	return []configFlag{
		{"author", "", "`name` of the author", false, plainChange(config.Author)},
		{"created-by", "", "`text` that history says made the layer", false, nil},
		{"arch", "", "`architecture`", false, plainChange(config.Arch)},
		{"variant", "", "architecture `variant`", false, plainChange(config.Variant)},
		{"os", "", "operating `system`", false, plainChange(config.OS)},
		{"os-feature", "", "operating system `feature`; f- removes, - clears", true, plainChange(config.EditOSFeature)},
		{"os-version", "", "operating system `version`", false, plainChange(config.OSVersion)},
		{"user", "u", "`user[:group]`", false, plainChange(config.User)},
		{"shell", "", "`shell` of shell-form commands", false, wordsChange("shell", config.Shell)},
		{"stop-signal", "", "`signal` that stops a container", false, plainChange(config.StopSignal)},
		{"port", "p", "`port` to expose; p- removes, - clears", true, plainChange(config.EditPort)},
		{"env", "e", "variable `K=V`; K- removes, - clears", true, func(text string, e env) (config.Change, error) { return config.EditEnv(text, e.lookup) }},
		{"entrypoint", "", "`entrypoint`, a JSON array or text for /bin/sh -c", false,
			plainChange(func(t string) config.Change { return config.Entrypoint(config.EntrypointWords(t)) })},
		{"cmd", "", "default `command`, a JSON array or words", false, wordsChange("cmd", config.Cmd)},
		{"volume", "v", "volume `path`; p- removes, - clears", true, plainChange(config.EditVolume)},
		{"healthcheck", "", "health check `command`, with CMD, CMD-SHELL or NONE in front", false,
			func(t string, _ env) (config.Change, error) { return config.HealthWords(t) }},
		{"healthcheck-interval", "", "`time` between checks", false, healthChange("healthcheck-interval", func(h *config.Healthcheck, d time.Duration) { h.Interval = d })},
		{"healthcheck-retries", "", "failures until unhealthy, a `number`", false, retriesChange},
		{"healthcheck-start-period", "", "`time` in which failures do not count", false, healthChange("healthcheck-start-period", func(h *config.Healthcheck, d time.Duration) { h.StartPeriod = d })},
		{"healthcheck-start-interval", "", "`time` between checks in the start period", false, healthChange("healthcheck-start-interval", func(h *config.Healthcheck, d time.Duration) { h.StartInterval = d })},
		{"healthcheck-timeout", "", "`time` a check may take", false, healthChange("healthcheck-timeout", func(h *config.Healthcheck, d time.Duration) { h.Timeout = d })},
		{"label", "l", "label `k=v`; k- removes, - clears", true, plainChange(config.EditLabel)},
		{"unsetlabel", "", "remove a `label`", true, plainChange(config.UnsetLabel)},
		{"unsetannotation", "", "remove an `annotation`", true, plainChange(config.UnsetAnnotation)},
		{"workingdir", "", "working `dir`ectory", false, plainChange(config.Workdir)},
		{"comment", "", "`comment` (docker format only)", false, plainChange(config.Comment)},
		{"history-comment", "", "`comment` of the layer's history", false, nil},
		{"domainname", "", "domain `name` (docker format only)", false, plainChange(config.Domainname)},
		{"hostname", "", "host `name` (docker format only)", false, plainChange(config.Hostname)},
		{"onbuild", "", "`instruction` for builds on the image", true, plainChange(config.OnBuild)},
		{"annotation", "a", "annotation `k=v`; k- removes, - clears", true, plainChange(config.EditAnnotation)},
	}
}

func configChanges(fs *pflag.FlagSet, e env) ([]config.Change, error) {
	var changes []config.Change
	for _, f := range configFlags() {
		if f.change == nil || !fs.Changed(f.name) {
			continue
		}
		values := []string{fs.Lookup(f.name).Value.String()}
		if f.list {
			values, _ = fs.GetStringArray(f.name) // declared as one
		}
		for _, v := range values {
			c, err := f.change(v, e)
			if err != nil {
				return nil, err
			}
			changes = append(changes, c)
		}
	}
	return changes, nil
}

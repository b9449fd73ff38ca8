package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/imagebuildah"
)

// keepFlags binds what becomes of the containers of steps, and what RUN reads.
func keepFlags(fs *pflag.FlagSet, f *buildFlags) func() error {
	rm := fs.Bool("rm", true, "leave no containers of a build that succeeds; false keeps one of each stage")
	forceRM := fs.Bool("force-rm", false, "leave no containers of a build that fails, which is the default; false keeps the failed step's")
	fs.StringVar(&f.onFailure, "on-failure", "remove", "`what` to do with the container of a step that fails: remove, keep, or open a shell in it")
	stdin := fs.Bool("stdin", false, "let RUN read standard input")
	return func() error {
		o := &f.o
		if (fs.Changed("rm") || fs.Changed("force-rm")) && !f.layers && !o.NoCache {
			return errors.New("'rm' and 'force-rm' can only be set with either 'layers' or 'no-cache'")
		}
		o.KeepAll, o.Keep = !*rm, fs.Changed("force-rm") && !*forceRM
		switch f.onFailure {
		case "remove":
		case "keep":
			o.Keep = true
		case "shell":
			if f.progress == "tty" {
				return errors.New("--progress tty draws on the terminal that the shell of --on-failure shell has: use plain or json")
			}
			f.shell()
		default:
			return fmt.Errorf("invalid --on-failure %q: want remove, keep or shell", f.onFailure)
		}
		if *stdin && o.Jobs > 1 {
			return nil // several commands would take the input from each other
		}
		if *stdin {
			o.Jobs, o.Stdin = 1, f.g.in
		}
		return nil
	}
}

// shell has a shell opened where a step fails, on a terminal if there is one.
func (f *buildFlags) shell() {
	tty := f.g.in != nil && term.IsTerminal(int(f.g.in.Fd()))
	f.o.Shell = &builder.Stdio{In: f.g.in, Out: f.g.out, Err: f.g.err, Terminal: tty}
	if f.progress == "auto" {
		f.progress = "plain" // the screen is the shell's
	}
}

// stageFlags binds what is built beside the target, and what is kept of it.
func stageFlags(fs *pflag.FlagSet, f *buildFlags) func() error {
	o := &f.o
	skip := fs.Bool("skip-unused-stages", true, "build only the stages that the target needs")
	fs.BoolVar(&o.SaveStages, "save-stages", false, "keep an image without a name of each stage but the last one")
	fs.BoolVar(&o.StageLabels, "stage-labels", false, "with --save-stages: labels that name the stage and its base")
	fs.StringArrayVar(&o.LayerLabels, "layer-label", nil, "label `k=v` of the images of --save-stages only")
	fs.BoolVar(&o.CompatVolumes, "compat-volumes", false, "take back what RUN changes below volumes, as docker's classic builder")
	fs.StringVar(&o.OSVersion, "os-version", "", "operating system `version` that the image needs")
	fs.StringArrayVar(&o.OSFeatures, "os-feature", nil, "operating system `feature` that the image needs; f- removes it")
	policy := fs.String("source-policy-file", "", "`file` of rules (JSON) which images may be used, and instead of which others")
	return func() (err error) {
		o.AllStages = !*skip
		if o.StageLabels && !o.SaveStages {
			return errors.New(`"--stage-labels" requires "--save-stages"`)
		}
		if o.CompatVolumes && !f.layers {
			return errors.New("--compat-volumes needs --layers")
		}
		if *policy != "" {
			o.Policy, err = imagebuildah.ReadSourcePolicy(*policy)
		}
		return err
	}
}

// usageFlags binds the report of what steps use.
func usageFlags(fs *pflag.FlagSet, f *buildFlags) func() error {
	fs.BoolVar(&f.o.LogUsage, "log-rusage", false, "print what each step used")
	file := fs.String("rusage-logfile", "", "print it to `file`")
	_, _ = fs.MarkHidden("log-rusage"), fs.MarkHidden("rusage-logfile")
	return func() error {
		if *file == "" {
			return nil
		}
		log, err := os.OpenFile(*file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644) //nolint:gosec // as other reports
		if err != nil {
			return fmt.Errorf("opening --rusage-logfile: %w", err)
		}
		f.logs = append(f.logs, log)
		f.o.LogUsage, f.o.Usage = true, io.Writer(log)
		return nil
	}
}

// ignoredFlags binds what docker and the family have and what never had an effect (cli.md §11.2).
func ignoredFlags(fs *pflag.FlagSet) {
	fs.Bool("compress", false, "no effect: the context is not sent anywhere")
	fs.Bool("disable-content-trust", false, "no effect: see containers-policy.json(5)")
	fs.Int("loglevel", 0, "no effect: see --log-level")
	_ = fs.MarkHidden("loglevel")
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// runFlags are the flags of run.
type runFlags struct {
	g               *globals
	o               builder.RunOptions
	iso, contextDir string
	env, mounts     []string
	terminal        *bool // nil: as the streams are
}

func newRunCmd(g *globals) *cobra.Command {
	f := &runFlags{g: g}
	cmd := &cobra.Command{
		Use: "run [flags] CONTAINER [--] COMMAND [ARG...]", Short: "Run a command in a working container",
		Example: "  run work -- apt-get update\n  run --user www-data work id\n  run --network none work sh -c 'make test'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("container ID must be specified")
			}
			return nil
		},
	}
	f.bind(cmd.Flags())
	addHistory := historyFlag(cmd.Flags(), g)
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, args []string) error {
		argv := args[1:]
		if len(argv) > 0 && argv[0] == "--" {
			argv = argv[1:]
		}
		if len(argv) == 0 {
			return errors.New("command must be specified")
		}
		done, err := f.settle()
		if err != nil {
			return err
		}
		defer done()
		c, err := s.Container(args[0])
		if err != nil {
			return err
		}
		if err := c.Run(ctx, argv, f.o); err != nil || !*addHistory {
			return err
		}
		return c.Edit(builder.Edit{History: []string{runHistory(c, argv)}})
	})
	return cmd
}

func (f *runFlags) bind(fs *pflag.FlagSet) {
	o, g := &f.o, f.g
	fs.StringArrayVarP(&f.env, "env", "e", nil, "`K=V` or K for this command only")
	fs.StringVar(&o.Hostname, "hostname", "", "host `name`")
	fs.StringVar(&f.iso, "isolation", "", "`isolation`: native (default; also rootless), oci or chroot")
	fs.StringArrayVar(&f.mounts, "mount", nil, "mount `type=bind|cache|tmpfs,...`")
	fs.StringVar(&f.contextDir, "contextdir", "", "`dir`ectory that bind mounts are taken from")
	fs.BoolVar(&o.Sandbox.Hosts.NoHostname, "no-hostname", false, "leave /etc/hostname alone")
	fs.BoolVar(&o.Sandbox.Hosts.NoHosts, "no-hosts", false, "leave /etc/hosts alone")
	fs.BoolVar(&o.Sandbox.NoPivot, "no-pivot", g.env.get("NOPIVOT") != "", "move the root instead of pivoting to it, for hosts that run from a ramdisk")
	fs.StringVar(&o.Sandbox.Runtime, "runtime", g.env.get("RUNTIME"), "run with this OCI `runtime` (isolation oci, if no other is given)")
	fs.StringSliceVar(&o.Sandbox.RuntimeFlags, "runtime-flag", nil, "global `flag` for the runtime, without dashes")
	fs.StringVarP(&o.User, "user", "u", "", "`user[:group]` of the command, by name or number")
	fs.IntSliceVar(&o.ValidExitCodes, "valid-exit-codes", []int{0}, "exit `codes` that mean success")
	fs.StringArrayVarP(&o.Sandbox.Volumes, "volume", "v", nil, "bind mount `HOST:CONTAINER[:OPTIONS]`")
	fs.StringVar(&o.Dir, "workingdir", "", "working `dir`ectory of the command, made if it is not there")
	deviceFlags(fs, &o.Sandbox, "host `device`, HOST[:CONTAINER[:rwm]] or VENDOR/CLASS=NAME")
	fs.VarP(&optionalBool{&f.terminal}, "terminal", "t", "give the command a terminal (default if all streams are one)")
	fs.Lookup("terminal").NoOptDefVal = "true"
	capFlags(fs, &o.Sandbox)
	namespaceFlags(fs, &o.Sandbox)
}

// settle turns what was typed into options. The caller calls done.
func (f *runFlags) settle() (done func(), err error) {
	o, g := &f.o, f.g
	if o.Sandbox.Isolation, err = g.env.isolation(f.iso); err != nil {
		return nil, err
	}
	if o.Mounts, err = parseMounts(f.mounts); err != nil {
		return nil, err
	}
	o.Env = g.env.expand(f.env)
	o.Stdio = builder.Stdio{In: g.in, Out: g.out, Err: g.err, Terminal: isTerminal(g.in) && isTerminal(g.out) && isTerminal(g.err)}
	if f.terminal != nil {
		o.Stdio.Terminal = *f.terminal
	}
	if f.contextDir == "" {
		hostSources(o.Mounts)
		return func() {}, nil
	}
	if o.Context, err = rootfs.Open(f.contextDir, rootfs.Apply); err != nil {
		return nil, fmt.Errorf("opening --contextdir: %w", err)
	}
	return func() { o.Context.Close() }, nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && f != nil && term.IsTerminal(int(f.Fd()))
}

// runHistory is what --add-history records of a command (containers.md §11.3).
func runHistory(c *builder.Container, argv []string) string {
	shell := c.Config().Config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return strings.Join(append(shell, argv...), " ")
}

func parseMounts(texts []string) ([]builder.Mount, error) {
	var list []builder.Mount
	for _, text := range texts {
		m, err := builder.ParseMount(text, nil)
		if err == nil && m.Target == "" && (m.Type == "bind" || m.Type == "cache" || m.Type == "tmpfs") {
			err = fmt.Errorf("invalid mount %q: target is missing", text)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// hostSources takes relative sources of bind mounts from the current directory.
func hostSources(list []builder.Mount) {
	for i, m := range list {
		if m.Type != "bind" || m.From != "" || m.Source == "" {
			continue
		}
		if abs, err := filepath.Abs(m.Source); err == nil {
			list[i].Source = abs
		}
	}
}

// expand reads --env values: K=V as it is, a bare K, or all that begin as PREFIX*, from the caller's environment.
func (e env) expand(list []string) []string {
	var out []string
	for _, kv := range list {
		if strings.Contains(kv, "=") {
			out = append(out, kv)
		} else {
			out = append(out, e.matching(kv)...)
		}
	}
	return out
}

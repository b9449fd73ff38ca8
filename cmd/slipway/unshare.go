package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/internal/userns"
)

// newUnshareCmd runs a command where storage commands run: as root of the user namespace that this program
// is in by now, if it needed one.
func newUnshareCmd(g *globals) *cobra.Command {
	var mounts []string
	cmd := &cobra.Command{Use: "unshare [flags] [--] [COMMAND [ARG...]]", Short: "Run a command in the user namespace of an ordinary user's storage",
		Example: "  unshare ./build.sh\n  unshare --mount root=work sh -c 'ls $root'"}
	cmd.Flags().StringSliceVarP(&mounts, "mount", "m", nil, "mount `[VARIABLE=]CONTAINER` and say where in the variable")
	cmd.RunE = g.withStore(func(_ context.Context, s *builder.Store, args []string) error {
		if why := userns.Why(); why != "" {
			return errors.New(why)
		}
		if len(args) == 0 {
			args = []string{first(g.env.plain("SHELL"), "/bin/sh")}
		}
		c := exec.Command(args[0], args[1:]...) // not ended with our context: signals are its own business (cli.md §13.6)
		c.Stdin, c.Stdout, c.Stderr, c.Env = g.in, g.out, g.err, os.Environ()
		for _, m := range mounts {
			name, ctr, ok := strings.Cut(m, "=")
			if !ok {
				ctr = name
			}
			w, err := s.Container(ctr)
			if err != nil {
				return err
			}
			dir, err := w.Mount()
			if err != nil {
				return err
			}
			defer w.Unmount() //nolint:errcheck // the command's status matters
			c.Env = append(c.Env, name+"="+dir)
		}
		syscall.Umask(g.umask) // the command's is the caller's
		sigs := userns.Catch()
		if err := c.Start(); err != nil {
			return err
		}
		go userns.Forward(sigs, c.Process)
		err := c.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return &silentError{max(exit.ExitCode(), 1)}
		}
		return err
	})
	return cmd
}

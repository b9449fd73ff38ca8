package imagebuildah

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-build/slipway/builder"
)

// abandon ends the workspace of a step that failed: it is gone, or with Options.Keep a working container.
func (st *stage) abandon(ctx context.Context, w *builder.Workspace, err error) error {
	if !st.b.o.Keep || ctx.Err() != nil {
		return errors.Join(err, w.Discard())
	}
	c, kerr := w.Keep(ctx, builder.FromOptions{Sandbox: st.b.job.o.Box, Users: st.b.job.o.Users})
	if kerr != nil {
		return errors.Join(err, fmt.Errorf("keeping the container of the step: %w", kerr))
	}
	return &KeptError{Container: c.Name(), Err: err}
}

// A KeptError says that the container of a step that failed is still there.
type KeptError struct {
	Container string // its name
	Err       error
}

func (e *KeptError) Error() string { return e.Err.Error() }

// Unwrap gives the step's own error.
func (e *KeptError) Unwrap() error { return e.Err }

// command runs a RUN. With Options.Shell, a shell is opened where the first command has failed, with all that the command had:
// files, variables, mounts.
func (st *stage) command(ctx context.Context, w *builder.Workspace, args []string, o builder.RunOptions) error {
	err := w.Run(ctx, args, o)
	shell := st.b.o.Shell
	if err == nil || shell == nil || ctx.Err() != nil {
		return err
	}
	if !st.b.shelled.CompareAndSwap(false, true) {
		return err // the build ends with the shell that is open
	}
	st.part.show()
	fmt.Fprintf(shell.Err, "%v: this is a shell in its container; the build ends with it\n", err)
	o.Stdio = *shell
	_ = w.Run(ctx, shellOf(st.cfg)[:1], o) // whatever it ends with, the step has failed
	return err
}

// containers makes a working container of each stage (Options.KeepAll).
func (j *job) containers(ctx context.Context) error {
	seen := map[*stage]bool{}
	for _, b := range j.builds {
		for _, st := range b.built() {
			if seen[st] {
				continue
			}
			seen[st] = true
			if _, err := j.s.ContainerOn(ctx, st.cfg, st.top, builder.FromOptions{Sandbox: j.o.Box, Users: j.o.Users}); err != nil {
				return fmt.Errorf("keeping the container of stage %s: %w", st.def.Label(), err)
			}
		}
	}
	return nil
}

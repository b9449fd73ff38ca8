package native

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/builder/internal/runner"
)

// A join is a namespace that exists and that the command is started in. Only who names one by its path has any: nothing else of this program
// depends on setns(2), which default filters of pods refuse (decisions.md §1.8).
type join struct {
	kind specs.LinuxNamespaceType
	tree int // which of the job's trees it is
}

// start starts a process in the namespaces that are joined, beside the new ones that cmd has flags for. The thread that does it, and that
// the process's parent-death signal belongs to, is given up for it; it lasts until release is called.
func start(cmd *exec.Cmd, joins []join, trees []*os.File) (release func(), err error) {
	if len(joins) == 0 {
		return func() {}, started(cmd.Start())
	}
	done, result := make(chan struct{}), make(chan error)
	go func() {
		runtime.LockOSThread() // for good: a locked thread ends with its goroutine, and nothing else runs in these namespaces
		err := enter(joins, trees)
		if err == nil {
			if err = cmd.Start(); errors.Is(err, unix.ENOMEM) && joinsPID(joins) {
				err = fmt.Errorf("the PID namespace's first process has ended: %w", err)
			}
			err = started(err)
		}
		result <- err
		<-done
	}()
	return func() { close(done) }, <-result
}

func started(err error) error {
	if err != nil {
		return fmt.Errorf("starting the command's namespaces: %w", err)
	}
	return nil
}

// enter makes this thread's children start in the namespaces.
func enter(joins []join, trees []*os.File) error {
	for _, j := range joins {
		f, err := os.Open(runner.Path(trees[j.tree])) // of a descriptor that only names it
		if err != nil {
			return fmt.Errorf("joining a %s namespace: %w", j.kind, err)
		}
		err = unix.Setns(int(f.Fd()), 0) // which kind it is has been looked at
		f.Close()
		switch {
		case errors.Is(err, unix.EINVAL) && j.kind == specs.PIDNamespace:
			return fmt.Errorf("joining a pid namespace: it is not below the one that slipway is in: %w", err)
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("joining a %s namespace: it belongs to another user namespace, or a filter forbids it: %w", j.kind, err)
		case err != nil:
			return fmt.Errorf("joining a %s namespace: %w", j.kind, err)
		}
	}
	return nil
}

func joinsPID(joins []join) bool {
	for _, j := range joins {
		if j.kind == specs.PIDNamespace {
			return true
		}
	}
	return false
}

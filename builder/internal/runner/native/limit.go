package native

import (
	"fmt"
	"log/slog"

	"github.com/slipway-build/slipway/builder/internal/runner"
	"github.com/slipway-build/slipway/builder/internal/runner/cgroup"
)

// A limited is the control group of a command that has limits, none for others.
type limited struct {
	group *cgroup.Group
	log   *slog.Logger
}

// limit makes it.
func (r Runner) limit(j runner.Job) (limited, error) {
	l := j.Spec.Linux
	if l.Resources == nil && l.CgroupsPath == "" {
		return limited{}, nil
	}
	if err := cgroup.Note(j.Dir); err != nil {
		return limited{}, fmt.Errorf("limiting the command: %w", err)
	}
	g, err := cgroup.New(cgroup.Root, j.ID, l)
	return limited{g, r.Log}, err
}

// add puts the command's first process into it, before that does anything.
func (l limited) add(p *process) error {
	if l.group == nil {
		return nil
	}
	err := l.group.Add(p.cmd.Process.Pid)
	if err != nil {
		p.kill()
		_ = p.cmd.Wait()
	}
	return err
}

// end removes it when the command has ended.
func (l limited) end() error {
	if l.group == nil {
		return nil
	}
	if n := l.group.Starved(); n > 0 {
		l.log.Warn(fmt.Sprintf("the kernel killed %d of the command's processes: they needed more memory than --memory allows", n))
	}
	if err := l.group.Remove(); err != nil {
		return fmt.Errorf("removing the command's cgroup: %w", err)
	}
	return nil
}

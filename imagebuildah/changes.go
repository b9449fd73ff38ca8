package imagebuildah

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// ParseChanges reads metadata instructions, as `commit --change` takes them.
func ParseChanges(lines []string) ([]config.Change, error) {
	var changes []config.Change
	for _, line := range lines {
		cmd, err := plan.Instruction(line)
		if err == nil {
			var c []config.Change
			if c, err = metadata(cmd, nil); err == nil && c == nil {
				err = errors.New("only instructions that change the configuration can be used here")
			}
			changes = append(changes, c...)
		}
		if err != nil {
			return nil, fmt.Errorf("change %q: %w", line, err)
		}
	}
	return changes, nil
}

// metadata returns what an instruction changes of the configuration, nil for one that does more than that.
// st is the stage it stands in, or nil outside of a build.
func metadata(cmd instructions.Command, st *stage) ([]config.Change, error) {
	one := func(c config.Change) ([]config.Change, error) { return []config.Change{c}, nil }
	switch c := cmd.(type) {
	case *instructions.EnvCommand:
		return pairs(c.Env, config.Env), nil
	case *instructions.LabelCommand:
		return pairs(c.Labels, config.Label), nil
	case *instructions.MaintainerCommand:
		return one(config.Author(c.Maintainer))
	case *instructions.UserCommand:
		return one(config.User(c.User))
	case *instructions.StopSignalCommand:
		return one(config.StopSignal(c.Signal))
	case *instructions.ShellCommand:
		return one(config.Shell(c.Shell))
	case *instructions.OnbuildCommand:
		return one(config.OnBuild(c.Expression))
	case *instructions.VolumeCommand:
		var list []config.Change
		for _, v := range c.Volumes {
			list = append(list, config.Volume(v))
		}
		return list, nil
	case *instructions.ExposeCommand:
		return expose(c.Ports)
	case *instructions.HealthCheckCommand:
		h := config.Healthcheck{Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, StartInterval: c.Health.StartInterval, Retries: c.Health.Retries}
		return one(config.Health(&h))
	case *instructions.CmdCommand:
		return one(argv(c.ShellDependantCmdLine, config.Cmd, true))
	case *instructions.EntrypointCommand:
		list := []config.Change{argv(c.ShellDependantCmdLine, config.Entrypoint, false)}
		if st == nil || !st.cmdSet {
			list = append(list, config.Cmd(nil)) // an inherited command would be the new entrypoint's arguments
		}
		return list, nil
	case *instructions.WorkdirCommand:
		if st == nil {
			return one(config.Workdir(c.Path))
		}
	}
	return nil, nil
}

func pairs(kvs instructions.KeyValuePairs, f func(k, v string) config.Change) []config.Change {
	var list []config.Change
	for _, kv := range kvs {
		list = append(list, f(kv.Key, kv.Value))
	}
	return list
}

// argv is a command line in exec form, or in shell form with the shell in force put in front.
func argv(line instructions.ShellDependantCmdLine, f func([]string) config.Change, keepEmpty bool) config.Change {
	return func(i *config.Image) error {
		args := line.CmdLine
		if line.PrependShell {
			args = append(shellOf(i), args...)
		}
		if len(args) == 0 && !keepEmpty {
			args = nil
		}
		return f(args)(i)
	}
}

// shellOf is the shell of shell-form commands.
func shellOf(i *config.Image) []string {
	if len(i.Config.Shell) > 0 {
		return append([]string{}, i.Config.Shell...)
	}
	return []string{"/bin/sh", "-c"}
}

// expose reads the ports of EXPOSE: "[host:]port[-end][/protocol]", each of a range for itself (dockerfile.md §8).
func expose(ports []string) ([]config.Change, error) {
	list := []config.Change{}
	for _, text := range ports {
		spec, proto, ok := strings.Cut(strings.ToLower(text), "/")
		if !ok {
			proto = "tcp"
		}
		if proto != "tcp" && proto != "udp" && proto != "sctp" {
			return nil, fmt.Errorf("invalid port: %q: invalid proto: %s", text, proto)
		}
		spec = spec[strings.LastIndex(spec, ":")+1:]
		first, last, ranged := strings.Cut(spec, "-")
		if !ranged {
			last = first
		}
		from, err1 := port(first)
		to, err2 := port(last)
		if err := errors.Join(err1, err2); err != nil || to < from {
			return nil, fmt.Errorf("invalid containerPort: %s", text)
		}
		for n := from; n <= to; n++ {
			list = append(list, config.Port(fmt.Sprintf("%d/%s", n, proto)))
		}
	}
	return list, nil
}

func port(text string) (n int, err error) {
	for _, c := range text {
		if c < '0' || c > '9' || n > 65535 {
			return 0, errors.New("not a port")
		}
		n = 10*n + int(c-'0')
	}
	if text == "" || n > 65535 {
		return 0, errors.New("not a port")
	}
	return n, nil
}

package imagebuildah

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/slipway-build/slipway/builder/config"
	"github.com/slipway-build/slipway/imagebuildah/expand"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// ParseChanges reads metadata instructions, as `commit --change` takes them. They mean what they mean in a Dockerfile, one after the other: quotes
// are removed, and variables are those of the image that is changed.
func ParseChanges(lines []string) ([]config.Change, error) {
	var changes []config.Change
	cmdSet := false
	for _, line := range lines {
		cmd, err := changing(line)
		if err != nil {
			return nil, fmt.Errorf("change %q: %w", line, err)
		}
		c := change{line, cmd, cmdSet}
		changes = append(changes, c.apply)
		_, is := cmd.(*instructions.CmdCommand)
		cmdSet = cmdSet || is
	}
	return changes, nil
}

// changing reads an instruction that does nothing but change the configuration.
func changing(line string) (instructions.Command, error) {
	other := errors.New("only instructions that change the configuration can be used here")
	if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.EqualFold(word, "FROM") {
		return nil, other
	}
	cmd, err := plan.Instruction(line)
	if errors.Is(err, plan.ErrNotOne) {
		return nil, errors.New("it is more than one instruction")
	}
	if err != nil {
		return nil, err
	}
	if c, err := metadata(cmd, nil, false); err == nil && c == nil {
		return nil, other
	}
	return cmd, nil
}

// A change is an instruction outside of a build; cmdSet says that one before it was CMD.
type change struct {
	line   string
	cmd    instructions.Command
	cmdSet bool
}

func (c change) apply(i *config.Image) error {
	cmd, err := expanded(c.cmd, &expand.Scope{Escape: '\\', Env: i.Config.Env})
	var list []config.Change
	if err == nil {
		list, err = metadata(cmd, nil, c.cmdSet)
	}
	for _, do := range list {
		if err == nil {
			err = do(i)
		}
	}
	if err != nil {
		return fmt.Errorf("change %q: %w", c.line, err)
	}
	return nil
}

// metadata returns what an instruction changes of the configuration, nil for one that does more than that.
// st is the stage it stands in, or nil outside of a build; cmdSet says that a CMD stands before it there.
func metadata(cmd instructions.Command, st *stage, cmdSet bool) ([]config.Change, error) {
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
		if err := signal(c.Signal); err != nil {
			return nil, err
		}
		return one(config.StopSignal(c.Signal))
	case *instructions.ShellCommand:
		return one(config.Shell(c.Shell))
	case *instructions.OnbuildCommand:
		return one(config.OnBuild(c.Expression))
	case *instructions.VolumeCommand:
		var list []config.Change
		for _, v := range c.Volumes {
			if v == "" { // a variable's value: else the parser says so
				return nil, errors.New("VOLUME specified can not be an empty string")
			}
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
		list := []config.Change{argv(c.ShellDependantCmdLine, config.Cmd, true)}
		if st != nil {
			list = append(list, config.ArgsEscaped()) // as BuildKit marks it (dockerfile.md §8)
		}
		return list, nil
	case *instructions.EntrypointCommand:
		list := []config.Change{argv(c.ShellDependantCmdLine, config.Entrypoint, false)}
		if !cmdSet {
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
			args = append(shellOf(i), strings.Join(args, " "))
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
	if i.OS == "windows" {
		return []string{"cmd", "/S", "/C"}
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
		host := ""
		if i := strings.LastIndex(spec, ":"); i >= 0 {
			host, spec = spec[:i], spec[i+1:]
			host = host[strings.LastIndex(host, ":")+1:]
		}
		first, last, ranged := strings.Cut(spec, "-")
		if !ranged {
			last = first
		}
		from, err1 := port(first)
		to, err2 := port(last)
		if err := errors.Join(err1, err2); err != nil || to < from {
			return nil, fmt.Errorf("invalid containerPort: %s", text)
		}
		if err := hostPorts(host, to-from); err != nil {
			return nil, fmt.Errorf("invalid port: %q: %w", text, err)
		}
		for n := from; n <= to; n++ {
			list = append(list, config.Port(fmt.Sprintf("%d/%s", n, proto)))
		}
	}
	return list, nil
}

// hostPorts checks the host's side of a mapping, which is not kept: one port, or as many as the container has.
func hostPorts(text string, more int) error {
	first, last, ranged := strings.Cut(text, "-")
	if text == "" || !ranged {
		return nil
	}
	from, err1 := port(first)
	to, err2 := port(last)
	if err1 != nil || err2 != nil || to-from != more {
		return errors.New("invalid ranges specified for container and host Ports")
	}
	return nil
}

// signal checks STOPSIGNAL: a number from 1 on, or a name with or without SIG in front, real-time ones as an offset from their
// ends.
func signal(text string) error {
	bad := fmt.Errorf("invalid signal: %s", text)
	if n, err := strconv.Atoi(text); err == nil {
		if n < 1 {
			return bad
		}
		return nil
	}
	name := strings.TrimPrefix(strings.ToUpper(text), "SIG")
	for prefix, sign := range map[string]string{"RTMIN": "+", "RTMAX": "-"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		offset, signed := strings.CutPrefix(rest, sign)
		if n, err := strconv.Atoi(offset); rest == "" || signed && err == nil && n >= 0 && n <= 30 {
			return nil
		}
		return bad
	}
	if !slices.Contains(strings.Fields(signals), name) {
		return bad
	}
	return nil
}

// signals are the names that Linux has.
const signals = "HUP INT QUIT ILL TRAP ABRT IOT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CLD CONT STOP TSTP TTIN TTOU " +
	"URG XCPU XFSZ VTALRM PROF WINCH IO POLL PWR SYS UNUSED"

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

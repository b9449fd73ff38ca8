package plan

import (
	"encoding/csv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// Run is RUN with the values of its --mount flags as they were written: they have more options than the parser of
// instructions knows, so it does not see them.
type Run struct {
	*instructions.RunCommand
	Mounts []string
}

// takeMounts takes the --mount flags out of the RUN instructions of a syntax tree and returns them in order, one entry for each
// RUN.
func takeMounts(ast *parser.Node) (list [][]string) {
	for _, n := range ast.Children {
		if !strings.EqualFold(n.Value, "run") {
			continue
		}
		var mounts, rest []string
		for _, f := range n.Flags {
			if text, ok := strings.CutPrefix(f, "--mount="); ok {
				mounts = append(mounts, text)
			} else {
				rest = append(rest, f)
			}
		}
		n.Flags = rest
		list = append(list, mounts)
	}
	return list
}

// putMounts joins parsed commands with what takeMounts took of them, and returns what is left for the commands behind.
func putMounts(commands []instructions.Command, mounts [][]string) [][]string {
	for i, c := range commands {
		if run, ok := c.(*instructions.RunCommand); ok {
			commands[i], mounts = &Run{run, mounts[0]}, mounts[1:]
		}
	}
	return mounts
}

// mountFrom is what a mount is taken from, "" for the context or nothing.
func mountFrom(text string) string {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return "" // said when the step is done
	}
	for _, f := range fields {
		if key, value, ok := strings.Cut(f, "="); ok && strings.EqualFold(key, "from") {
			return value
		}
	}
	return ""
}

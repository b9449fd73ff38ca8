package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// manPage is the page of a command in the language of man.
func manPage(cmd *cobra.Command, file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" Slipway\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(file)), roff(file), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n.SH DESCRIPTION\n%s\n", roff(synopsis(cmd)), roff(description(cmd)))
	if len(cmd.Aliases) > 0 {
		fmt.Fprintf(&b, ".PP\nOther names: %s.\n", roff(strings.Join(cmd.Aliases, ", ")))
	}
	b.WriteString(".SH OPTIONS\n")
	for _, o := range options(cmd.LocalFlags()) {
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fR \\fI%s\\fR\n%s\n", roff(o.names), roff(o.value), roff(o.help))
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(c.Name()), roff(c.Short))
			}
		}
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(cmd.Example))
	}
	if !cmd.HasParent() {
		b.WriteString(aboutAll())
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, strings.ReplaceAll(cmd.Parent().CommandPath(), " ", "-"))
	}
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			also = append(also, strings.ReplaceAll(c.CommandPath(), " ", "-"))
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(&b, ".SH SEE ALSO\n%s(1)\n", roff(strings.Join(also, "(1), ")))
	}
	return b.String()
}

// roff escapes text: no backslash, dash or control line of it means anything to the formatter.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// aboutAll are the sections of the program's own page that hold for all commands.
func aboutAll() string {
	var b strings.Builder
	for _, section := range []struct {
		name  string
		lines [][2]string
	}{
		{"EXIT STATUS", [][2]string{
			{"0", "success"},
			{"1 to 255", "of run, and of build where a RUN fails: the status of the command, 1 where it could not be started or was ended by a signal"},
			{"125", "everything else that fails; one line on standard error says what"},
		}},
		{"ENVIRONMENT", [][2]string{
			{"SLIPWAY_ROOT, SLIPWAY_RUNROOT, STORAGE_DRIVER, STORAGE_OPTS", "the storage: --root, --runroot, --storage-driver, --storage-opt"},
			{"BUILDAH_FORMAT, BUILDAH_HISTORY, BUILDAH_ISOLATION, BUILDAH_LAYERS, BUILDAH_NOPIVOT, BUILDAH_RUNTIME", "defaults of the flags of those names; with SLIPWAY_ in front in place of BUILDAH_ they win"},
			{"REGISTRY_AUTH_FILE, DOCKER_CONFIG", "where credentials for registries are"},
			{"CONTAINERS_CONF, CONTAINERS_REGISTRIES_CONF, CONTAINERS_STORAGE_CONF", "configuration files in place of the usual ones"},
			{"SOURCE_DATE_EPOCH", "the time of what is made, in seconds since 1970"},
			{"SLIPWAY_EXIT_CODES=shell", "has run end in 126, 127 and 128 plus a signal where it ends in 1 otherwise"},
			{"TMPDIR", "where large temporary files go"},
		}},
		{"FILES", [][2]string{
			{"/var/lib/containers/storage, ~/.local/share/containers/storage", "images, containers and the build cache of root and of other users"},
			{"/etc/containers, ~/.config/containers", "storage.conf, containers.conf, registries.conf, policy.json and more; none is needed"},
		}},
	} {
		fmt.Fprintf(&b, ".SH %s\n", section.name)
		for _, l := range section.lines {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fR\n%s\n", roff(l[0]), roff(l[1]))
		}
	}
	return b.String()
}

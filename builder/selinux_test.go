package builder

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/slipway-build/slipway/builder/internal/mounts"
)

func TestListed(t *testing.T) {
	const profiles = "/usr/bin/man (enforce)\ncontainers-default (complain)\nname with (parentheses) (enforce)\n"
	for name, want := range map[string]bool{"containers-default": true, "/usr/bin/man": true, "name with (parentheses)": true, "man": false, "": false, "containers": false} {
		if listed(profiles, name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// Sources of mounts get the label of the container, or one that all share, only if that is asked for.
func TestRelabelled(t *testing.T) {
	const own = "u:r:f:s0:c1,c2"
	for text, want := range map[string]string{"/a:/b": "", "/a:/b:ro": "", "/a:/b:Z": "/a own", "/a:/b:ro,z": "/a shared"} {
		m, err := mounts.Volume(text)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		err = relabelled(m, m.Source, own, func(name, label string, shared bool) error {
			if label != own {
				t.Errorf("%s: label %q", text, label)
			}
			got = name + map[bool]string{true: " shared", false: " own"}[shared]
			return nil
		})
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	refused := errors.New("operation not supported")
	m, err := mounts.Volume("/a:/b:z")
	if err == nil {
		err = relabelled(m, "/a", own, func(string, string, bool) error { return refused })
	}
	if !errors.Is(err, refused) || fmt.Sprint(err) != "giving /a the SELinux label of the container: operation not supported" {
		t.Errorf("%v", err)
	}
}

// A command of a build has the build's labels, a container's those of its record, and one without restrictions none; its files have theirs in each case.
func TestLabelsOfCommands(t *testing.T) {
	for _, c := range []struct {
		box            Security
		record         about
		process, mount string
	}{
		{Security{ProcessLabel: "build", MountLabel: "files"}, about{}, "build", "files"},
		{Security{}, about{processLabel: "container", mountLabel: "files"}, "container", "files"},
		{Security{Insecure: true}, about{processLabel: "container", mountLabel: "files"}, "", "files"},
		{Security{Insecure: true, ProcessLabel: "build", MountLabel: "files"}, about{}, "", "files"},
		{Security{Options: []string{"label=disable"}}, about{mountLabel: "files"}, "", "files"},
	} {
		cmd := commanded{w: &Workspace{about: c.record}, box: Sandbox{Security: c.box}}
		if process, mount := cmd.labels(); process != c.process || mount != c.mount {
			t.Errorf("%+v: %q %q", c, process, mount)
		}
	}
	if got := labelOptions([]string{"label=type:t", "seccomp=unconfined", "label=disable"}); !slices.Equal(got, []string{"type:t", "disable"}) {
		t.Errorf("%q", got)
	}
}

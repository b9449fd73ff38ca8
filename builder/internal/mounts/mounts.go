// Package mounts reads the values of --volume and --mount into mounts of a runtime specification. It
// opens nothing: sources are paths of the host that the caller of the program chose.
package mounts

import (
	"encoding/csv"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Parse reads volumes, "HOST:CONTAINER[:OPTIONS]" with "\:" for a colon, and mounts, "type=…,…" (cli.md §8.14, §8.15).
func Parse(volumes, mounts []string) ([]specs.Mount, error) {
	var list []specs.Mount
	for _, v := range volumes {
		m, err := Volume(v)
		if err != nil {
			return nil, fmt.Errorf("invalid volume %q: %w", v, err)
		}
		list = append(list, m)
	}
	for _, text := range mounts {
		m, err := Mount(text)
		if err != nil {
			return nil, fmt.Errorf("invalid mount %q: %w", text, err)
		}
		list = append(list, m)
	}
	for i, m := range list {
		if slices.ContainsFunc(list[:i], func(o specs.Mount) bool { return o.Destination == m.Destination }) {
			return nil, fmt.Errorf("%s is mounted on twice", m.Destination)
		}
	}
	return list, nil
}

// Volume reads one value of --volume.
func Volume(text string) (specs.Mount, error) {
	parts := split(text)
	if len(parts) < 2 || len(parts) > 3 {
		return specs.Mount{}, errors.New("want HOST:CONTAINER[:OPTIONS]")
	}
	m := specs.Mount{Type: "bind", Source: parts[0], Destination: path.Clean(parts[1]), Options: []string{"rbind"}}
	if !path.IsAbs(parts[0]) || !path.IsAbs(parts[1]) {
		return m, errors.New("both paths must be absolute")
	}
	if m.Destination == "/" {
		return m, errors.New("the root cannot be mounted on")
	}
	if len(parts) == 3 {
		return m, options(&m, strings.Split(parts[2], ","))
	}
	m.Options = append(m.Options, "rprivate")
	return m, nil
}

// split cuts at colons that no backslash is in front of.
func split(text string) []string {
	var parts []string
	var cur strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ':':
			i++
			cur.WriteByte(':')
		case text[i] == ':':
			parts = append(parts, cur.String())
			cur.Reset()
		default:
			cur.WriteByte(text[i])
		}
	}
	return append(parts, cur.String())
}

// options checks the words of a volume against the closed list; at most one of each family is allowed.
func options(m *specs.Mount, words []string) error {
	families := map[string]string{
		"rw": "access", "ro": "access", "exec": "exec", "noexec": "exec", "suid": "suid", "nosuid": "suid", "dev": "dev", "nodev": "dev",
		"private": "propagation", "rprivate": "propagation", "slave": "propagation", "rslave": "propagation", "shared": "propagation", "rshared": "propagation",
		"z": "label", "Z": "label", "bind": "bind", "rbind": "bind",
	}
	seen := map[string]bool{}
	for _, w := range words {
		family, ok := families[w]
		switch {
		case !ok:
			return fmt.Errorf("invalid mount option %q", w)
		case seen[family]:
			return fmt.Errorf("more than one option about %s", family)
		}
		seen[family] = true
		if family != "label" { // there is nothing to label without SELinux
			m.Options = append(m.Options, w)
		}
	}
	if !seen["propagation"] {
		m.Options = append(m.Options, "rprivate")
	}
	return nil
}

// Mount reads one value of --mount: bind (the default) or tmpfs.
func Mount(text string) (specs.Mount, error) {
	words, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return specs.Mount{}, err
	}
	m := specs.Mount{Type: "bind"}
	readOnly, flag := true, []string{}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "type":
			m.Type = value
		case "src", "source":
			m.Source = value
		case "dst", "destination", "target":
			m.Destination = value
		case "ro", "readonly":
			readOnly = value != "false"
		case "rw", "readwrite":
			readOnly = value == "false"
		case "nosuid", "nodev", "noexec":
			flag = append(flag, key)
		case "tmpfs-size", "size":
			flag = append(flag, "size="+value)
		case "tmpfs-mode":
			flag = append(flag, "mode="+value)
		default:
			return m, fmt.Errorf("invalid mount option %q", key)
		}
	}
	return finish(m, readOnly, flag)
}

func finish(m specs.Mount, readOnly bool, flags []string) (specs.Mount, error) {
	if !path.IsAbs(m.Destination) || path.Clean(m.Destination) == "/" {
		return m, fmt.Errorf("invalid mount target %q", m.Destination)
	}
	m.Destination = path.Clean(m.Destination)
	switch m.Type {
	case "bind":
		if !path.IsAbs(m.Source) {
			return m, fmt.Errorf("the source of a bind mount must be absolute, not %q", m.Source)
		}
		m.Options = append([]string{"rbind", "rprivate"}, flags...)
		if readOnly {
			m.Options = append(m.Options, "ro")
		}
	case "tmpfs":
		if m.Source != "" {
			return m, errors.New("a tmpfs has no source")
		}
		m.Source, m.Options = "tmpfs", append([]string{"nosuid", "nodev"}, flags...)
	default:
		return m, fmt.Errorf("unsupported mount type %q", m.Type)
	}
	return m, nil
}

// Merge joins mounts of which the later list wins where both want the same place, parents before what is in them.
func Merge(generated, asked []specs.Mount) []specs.Mount {
	list := slices.DeleteFunc(slices.Clone(generated), func(g specs.Mount) bool {
		return slices.ContainsFunc(asked, func(a specs.Mount) bool { return a.Destination == g.Destination })
	})
	list = append(list, asked...)
	slices.SortStableFunc(list, func(a, b specs.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	return list
}

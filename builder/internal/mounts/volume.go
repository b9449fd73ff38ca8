package mounts

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/internal/idmap"
)

// Volume reads one value of --volume, "HOST:CONTAINER[:OPTIONS]" with "\:" for a colon (cli.md §8.15). It is read-write
// and recursive unless it says otherwise.
func Volume(text string) (Mount, error) {
	m, err := volume(text)
	if err != nil {
		return m, fmt.Errorf("invalid volume %q: %w", text, err)
	}
	return m, nil
}

func volume(text string) (Mount, error) {
	parts := split(text)
	if len(parts) < 2 || len(parts) > 3 {
		return Mount{}, errors.New("want HOST:CONTAINER[:OPTIONS]")
	}
	m := Mount{Type: "bind", Source: parts[0], Target: path.Clean(parts[1]), Host: true}
	if !path.IsAbs(parts[0]) || !path.IsAbs(parts[1]) {
		return m, errors.New("both paths must be absolute")
	}
	if m.Target == "/" {
		return m, errors.New("the root cannot be mounted on")
	}
	if len(parts) == 2 {
		return m, nil
	}
	return m, m.options(strings.Split(parts[2], ","))
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

// options checks the words of a volume against the closed list; at most one of each family is allowed (CVE-2024-9407).
func (m *Mount) options(words []string) error {
	all := families()
	for w, family := range map[string]string{"rw": "access", "ro": "access", "bind": "recursion", "rbind": "recursion", "O": "overlay", "idmap": "owner"} {
		all[w] = family
	}
	delete(all, "bind-nonrecursive")
	delete(all, "tmpcopyup")
	delete(all, "no-dereference")
	seen := map[string]bool{}
	for _, w := range words {
		if dir, ok := strings.CutPrefix(w, "upperdir="); ok && m.Upper == "" && path.IsAbs(dir) {
			m.Upper = dir
			continue
		}
		if dir, ok := strings.CutPrefix(w, "workdir="); ok && m.Work == "" && path.IsAbs(dir) {
			m.Work = dir
			continue
		}
		w, owners, mapped := strings.Cut(w, "=")
		if mapped {
			if w != "idmap" {
				return fmt.Errorf("invalid mount option %q", w+"="+owners)
			}
			if _, err := Owners(owners); err != nil {
				return fmt.Errorf("invalid mount option %q: %w", w+"="+owners, err)
			}
			m.IDMap = owners
		}
		family, ok := all[w]
		switch {
		case !ok:
			return fmt.Errorf("invalid mount option %q", w)
		case seen[family]:
			return fmt.Errorf("more than one option about %s", family)
		}
		seen[family] = true
		switch family {
		case "access":
			m.ReadOnly = w == "ro"
		case "label", "owner", "overlay":
			m.Extra = append(m.Extra, w)
		default:
			m.Options = append(m.Options, w)
		}
	}
	return m.overlay(seen["label"])
}

// Owners reads the maps of "idmap=uids=A-B-N#A-B-N;gids=A-B-N": the owners from A on, N of them, are shown to the container as those from B on.
// What is not said of groups is as for users, and the other way round.
func Owners(text string) (ids idmap.IDs, err error) {
	for _, part := range strings.Split(text, ";") {
		key, list, _ := strings.Cut(part, "=")
		to := map[string]*idmap.Map{"uids": &ids.UIDs, "gids": &ids.GIDs}[key]
		if to == nil || len(*to) > 0 {
			return ids, errors.New("want idmap, or idmap=uids=OWNER-CONTAINER-LENGTH[#OWNER-CONTAINER-LENGTH...];gids=likewise")
		}
		for _, r := range strings.Split(list, "#") {
			got, err := idmap.Parse(r)
			if err != nil {
				return ids, fmt.Errorf("%q is not OWNER-CONTAINER-LENGTH", r)
			}
			*to = append(*to, got)
		}
		if err := to.Check(); err != nil {
			return ids, err
		}
	}
	if len(ids.GIDs) == 0 {
		ids.GIDs = slices.Clone(ids.UIDs)
	}
	if len(ids.UIDs) == 0 {
		ids.UIDs = slices.Clone(ids.GIDs)
	}
	return ids, nil
}

// overlay checks what goes with the option O.
func (m *Mount) overlay(labelled bool) error {
	switch {
	case m.Has("O") && labelled:
		return errors.New("options z and Z cannot be used with O")
	case m.Has("O") && m.Has("idmap"):
		return errors.New("option idmap cannot be used with O")
	case (m.Upper == "") != (m.Work == ""):
		return errors.New("upperdir and workdir must be given together")
	case m.Upper != "" && !m.Has("O"):
		return errors.New("upperdir and workdir need the option O")
	}
	return nil
}

// Package hooks reads the files of OCI hooks: programs of the host's administrator that run at certain points of a command's life, for
// those commands that a file says (version 1.0.0 of the format that oci-hooks(5) describes). It starts none; runners do.
package hooks

//lint:file-ignore SA1019 stage prestart is superseded, and in use

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Bounds on what is read.
const (
	maxSize  = 1 << 20
	maxFiles = 1000
)

// A Hook is one file, read.
type Hook struct {
	name   string
	hook   specs.Hook
	when   when
	stages []string
}

// Command is what a file's conditions are about.
type Command struct {
	// Program is the command's first word.
	Program string
	// Annotations are the command's.
	Annotations map[string]string
	// Binds says that paths of the host were asked to be mounted.
	Binds bool
}

type file struct {
	Version string     `json:"version"`
	Hook    specs.Hook `json:"hook"`
	When    struct {
		Always      *bool             `json:"always"`
		Annotations map[string]string `json:"annotations"`
		Commands    []string          `json:"commands"`
		Binds       *bool             `json:"hasBindMounts"`
	} `json:"when"`
	Stages []string `json:"stages"`
}

type when struct {
	always, binds *bool
	annotations   map[*regexp.Regexp]*regexp.Regexp
	commands      []*regexp.Regexp
}

// Load reads the files NAME.json of directories. A file of a later directory replaces one of the same name; the order is that of
// names. A directory that is not there has none.
func Load(dirs []string) ([]Hook, error) {
	files := map[string]string{}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading hooks: %w", err)
		}
		for _, e := range entries {
			if filepath.Ext(e.Name()) == ".json" {
				files[e.Name()] = filepath.Join(dir, e.Name())
			}
		}
	}
	if len(files) > maxFiles {
		return nil, fmt.Errorf("%d files of hooks: want at most %d", len(files), maxFiles)
	}
	var list []Hook
	for name, file := range files {
		h, err := load(file)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", file, err)
		}
		h.name = name
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b Hook) int {
		if n := strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)); n != 0 {
			return n
		}
		return strings.Compare(a.name, b.name)
	})
	return list, nil
}

func load(name string) (Hook, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a FIFO
	if err != nil {
		return Hook{}, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return Hook{}, errors.Join(err, errors.New("not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(text) > maxSize {
		err = fmt.Errorf("larger than %d bytes", maxSize)
	}
	if err != nil {
		return Hook{}, err
	}
	return parse(text)
}

// Stages are the points of a command's life, in their order.
func Stages() []string {
	return strings.Fields("prestart createRuntime createContainer startContainer poststart poststop")
}

func parse(text []byte) (Hook, error) {
	var f file
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&f); err != nil {
		return Hook{}, err
	}
	if dec.More() {
		return Hook{}, errors.New("more than one JSON value")
	}
	h := Hook{hook: f.Hook, stages: f.Stages, when: when{always: f.When.Always, binds: f.When.Binds, annotations: map[*regexp.Regexp]*regexp.Regexp{}}}
	switch {
	case f.Version != "1.0.0":
		return h, fmt.Errorf("version %q is not supported: want 1.0.0", f.Version)
	case !path.IsAbs(f.Hook.Path):
		return h, fmt.Errorf("the path %q of the program must be absolute", f.Hook.Path)
	case f.Hook.Timeout != nil && *f.Hook.Timeout <= 0:
		return h, fmt.Errorf("timeout %d: want more than 0 seconds", *f.Hook.Timeout)
	case len(f.Stages) == 0:
		return h, errors.New("no stages")
	}
	for _, s := range f.Stages {
		if !slices.Contains(Stages(), s) {
			return h, fmt.Errorf("stage %q is not supported: want %s", s, strings.Join(Stages(), ", "))
		}
	}
	for _, kv := range f.Hook.Env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			return h, fmt.Errorf("env %q: want NAME=VALUE", kv)
		}
	}
	return h, h.when.compile(f.When.Annotations, f.When.Commands)
}

func (w *when) compile(annotations map[string]string, commands []string) error {
	for k, v := range annotations {
		key, err := regexp.Compile(k)
		if err != nil {
			return err
		}
		if w.annotations[key], err = regexp.Compile(v); err != nil {
			return err
		}
	}
	for _, c := range commands {
		re, err := regexp.Compile(c)
		if err != nil {
			return err
		}
		w.commands = append(w.commands, re)
	}
	return nil
}

// match tells whether all conditions that are there are met; with none the hook is for no command.
func (w when) match(c Command) bool {
	given := false
	if w.always != nil {
		if given = true; !*w.always {
			return false
		}
	}
	for key, value := range w.annotations {
		given = true
		met := false
		for k, v := range c.Annotations {
			met = met || key.MatchString(k) && value.MatchString(v)
		}
		if !met {
			return false
		}
	}
	if len(w.commands) > 0 {
		given = true
		if !slices.ContainsFunc(w.commands, func(re *regexp.Regexp) bool { return re.MatchString(c.Program) }) {
			return false
		}
	}
	if w.binds != nil {
		if given = true; *w.binds != c.Binds {
			return false
		}
	}
	return given
}

// For are the hooks of a command by stage; nil if it has none.
func For(list []Hook, c Command) *specs.Hooks {
	var s specs.Hooks
	found := false
	for _, h := range list {
		if !h.when.match(c) {
			continue
		}
		for _, stage := range h.stages {
			found = true
			Add(&s, stage, h.hook)
		}
	}
	if !found {
		return nil
	}
	return &s
}

// Add adds a hook to a stage, which is one of [Stages].
func Add(s *specs.Hooks, stage string, h specs.Hook) {
	switch stage {
	case "prestart":
		s.Prestart = append(s.Prestart, h)
	case "createRuntime":
		s.CreateRuntime = append(s.CreateRuntime, h)
	case "createContainer":
		s.CreateContainer = append(s.CreateContainer, h)
	case "startContainer":
		s.StartContainer = append(s.StartContainer, h)
	case "poststart":
		s.Poststart = append(s.Poststart, h)
	case "poststop":
		s.Poststop = append(s.Poststop, h)
	}
}

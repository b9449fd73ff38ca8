package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-shellwords"
)

// The functions here read the spellings of the config command (cli.md §9.4): "k=v" sets, "k-" removes, "-" clears all.

// EditEnv reads one value of --env. "K=V" may use $X of the container's own environment; a bare K is taken
// from the caller's, through lookup. A name that the container does not have stands for itself, and unknown is told of it.
func EditEnv(text string, lookup func(string) (string, bool), unknown func(name string)) (Change, error) {
	if text == "-" {
		return ClearEnv(), nil
	}
	key, value, ok := strings.Cut(text, "=")
	switch {
	case ok && key == "":
		return nil, fmt.Errorf("setting env %q: no name given", text)
	case ok:
		return func(i *Image) error { return Env(key, expand(value, &i.Config, unknown))(i) }, nil
	case strings.HasSuffix(key, "-"):
		return UnsetEnv(strings.TrimSuffix(key, "-")), nil
	}
	value, found := lookup(key)
	if !found || value == "" {
		return nil, fmt.Errorf("setting env %q: no value given", key)
	}
	return Env(key, value), nil
}

// expand replaces $X and ${X} by the container's variables, or by X where there is none, of which unknown is told.
func expand(text string, c *Config, unknown func(name string)) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		name, end := variable(text, i)
		if end == i {
			b.WriteByte(text[i])
			continue
		}
		value, ok := c.Getenv(name)
		if !ok {
			unknown(name)
			value = name
		}
		b.WriteString(value)
		i = end - 1
	}
	return b.String()
}

// variable reads a reference that begins at i and returns its name and where it ends; end is i for none.
func variable(text string, i int) (name string, end int) {
	if text[i] != '$' {
		return "", i
	}
	if strings.HasPrefix(text[i+1:], "{") {
		if n := strings.IndexByte(text[i:], '}'); n > 2 {
			return text[i+2 : i+n], i + n + 1
		}
		return "", i
	}
	end = i + 1
	for end < len(text) && (text[end] == '_' || text[end] >= '0' && text[end] <= '9' || text[end]|0x20 >= 'a' && text[end]|0x20 <= 'z') {
		end++
	}
	if end == i+1 {
		return "", i
	}
	return text[i+1 : end], end
}

// EditLabel reads one value of --label, EditAnnotation one of --annotation.
func EditLabel(text string) Change { return edit(text, Label, UnsetLabel, ClearLabels) }

// EditAnnotation reads one value of --annotation.
func EditAnnotation(text string) Change {
	return edit(text, Annotation, UnsetAnnotation, ClearAnnotations)
}

// EditPort, EditVolume and EditOSFeature read one value each of --port, --volume and --os-feature.
func EditPort(text string) Change { return edit(text, plain(Port), RemovePort, ClearPorts) }

// EditVolume reads one value of --volume.
func EditVolume(text string) Change { return edit(text, plain(Volume), RemoveVolume, ClearVolumes) }

// EditOSFeature reads one value of --os-feature.
func EditOSFeature(text string) Change {
	return edit(text, plain(OSFeature), RemoveOSFeature, ClearOSFeatures)
}

func plain(f func(string) Change) func(string, string) Change {
	return func(k, _ string) Change { return f(k) }
}

func edit(text string, set func(k, v string) Change, unset func(string) Change, clear func() Change) Change {
	if text == "-" {
		return clear()
	}
	key, value, ok := strings.Cut(text, "=")
	if k, gone := strings.CutSuffix(key, "-"); gone && !ok {
		return unset(k)
	}
	return set(key, value)
}

// Words splits a command line as a shell splits words. A JSON array of strings is taken as it is; blank is nil.
func Words(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if argv, ok := jsonArray(text); ok {
		return argv, nil
	}
	argv, err := shellwords.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	}
	return argv, nil
}

func jsonArray(text string) ([]string, bool) {
	var argv []string
	err := json.Unmarshal([]byte(text), &argv)
	return argv, err == nil && strings.HasPrefix(strings.TrimSpace(text), "[")
}

// EntrypointWords reads --entrypoint: a JSON array as it is, other text for /bin/sh -c, blank for none.
func EntrypointWords(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if argv, ok := jsonArray(text); ok {
		return argv
	}
	return []string{"/bin/sh", "-c", text}
}

// HealthWords reads --healthcheck: the first word is CMD, CMD-SHELL or NONE; empty removes the check.
func HealthWords(text string) (Change, error) {
	argv, err := shellwords.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing --healthcheck %q: %w", text, err)
	}
	if len(argv) == 0 {
		return Health(nil), nil
	}
	switch argv[0] {
	case "CMD", "NONE":
	case "CMD-SHELL":
		argv = []string{"CMD-SHELL", strings.Join(argv[1:], " ")}
	default:
		return nil, fmt.Errorf("parsing --healthcheck %q: unknown type %q: use CMD, CMD-SHELL or NONE", text, argv[0])
	}
	return func(i *Image) error {
		h := Healthcheck{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3}
		if old := i.Config.Healthcheck; old != nil {
			h = *old
		}
		h.Test = argv
		i.Config.Healthcheck = &h
		return nil
	}, nil
}

// EditHealth changes one field of the health check, which comes into being with its defaults.
func EditHealth(f func(*Healthcheck)) Change {
	return func(i *Image) error {
		h := Healthcheck{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3}
		if old := i.Config.Healthcheck; old != nil {
			h = *old
		}
		f(&h)
		i.Config.Healthcheck = &h
		return nil
	}
}

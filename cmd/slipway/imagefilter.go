package main

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/builder"
)

// An imageFilter is what --filter of images asks for: all of the conditions, but any of the references (cli.md §10.1).
type imageFilter struct {
	dangling, intermediate map[string]bool
	used, foreign          map[string]bool // images of our containers, and of those of other tools
	conditions             []condition
	references             []condition
}

type condition struct {
	negated bool
	holds   func(ctx context.Context, i *builder.Image) (bool, error)
}

// newImageFilter reads the conditions; "!=" negates one.
func newImageFilter(s *builder.Store, texts []string) (*imageFilter, error) {
	f := &imageFilter{used: map[string]bool{}, foreign: map[string]bool{}}
	var err error
	if f.dangling, f.intermediate, err = s.Dangling(); err != nil {
		return nil, err
	}
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("invalid image filter %q: must be in the format \"filter=value or filter!=value\"", text)
		}
		key, negated := strings.CutSuffix(key, "!")
		holds, err := f.condition(s, key, value)
		if err != nil {
			return nil, err
		}
		if key == "reference" && !negated {
			f.references = append(f.references, condition{false, holds})
		} else {
			f.conditions = append(f.conditions, condition{negated, holds})
		}
	}
	return f, nil
}

// keeps tells whether an image is to be listed.
func (f *imageFilter) keeps(ctx context.Context, i *builder.Image) (bool, error) {
	for _, c := range f.conditions {
		ok, err := c.holds(ctx, i)
		if err != nil || ok == c.negated {
			return false, err
		}
	}
	for _, c := range f.references {
		if ok, err := c.holds(ctx, i); ok || err != nil {
			return ok, err
		}
	}
	return len(f.references) == 0, nil
}

type holds = func(context.Context, *builder.Image) (bool, error)

func (f *imageFilter) condition(s *builder.Store, key, value string) (holds, error) {
	switch key {
	case "dangling", "intermediate", "readonly", "manifest":
		return f.truth(key, value)
	case "containers":
		return f.containers(s, value)
	case "id":
		return simple(func(i *builder.Image) bool { return strings.HasPrefix(i.ID(), strings.TrimPrefix(value, "sha256:")) }), nil
	case "digest":
		return simple(func(i *builder.Image) bool { return strings.HasPrefix(i.Digest().String(), value) }), nil
	case "before", "since", "after":
		other, err := s.Image(value)
		if err != nil {
			return nil, err
		}
		if key == "before" {
			return simple(func(i *builder.Image) bool { return i.Created().Before(other.Created()) }), nil
		}
		return simple(func(i *builder.Image) bool { return i.Created().After(other.Created()) }), nil
	case "until":
		t, err := pointInTime(value, time.Now())
		return simple(func(i *builder.Image) bool { return i.Created().Before(t) }), err
	case "reference":
		return simple(func(i *builder.Image) bool {
			return slices.ContainsFunc(i.Names(), func(n string) bool { return referenceMatches(value, n) })
		}), nil
	case "label":
		return labelled(value), nil
	}
	return nil, fmt.Errorf("unsupported image filter %q", key)
}

func simple(f func(*builder.Image) bool) holds {
	return func(_ context.Context, i *builder.Image) (bool, error) { return f(i), nil }
}

func (f *imageFilter) truth(key, value string) (holds, error) {
	want, err := strconv.ParseBool(value)
	if err != nil {
		return nil, fmt.Errorf("invalid image filter \"%s=%s\": the value must be true or false", key, value)
	}
	return simple(func(i *builder.Image) bool {
		switch key {
		case "dangling":
			return f.dangling[i.ID()] == want
		case "intermediate":
			return f.intermediate[i.ID()] == want
		case "manifest":
			return (i.Index() != nil) == want
		}
		return i.ReadOnly() == want
	}), nil
}

func (f *imageFilter) containers(s *builder.Store, value string) (holds, error) {
	list, err := s.Containers(true)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		f.used[c.ImageID] = true
		if !c.Working {
			f.foreign[c.ImageID] = true
		}
	}
	switch value {
	case "true", "false":
		return simple(func(i *builder.Image) bool { return f.used[i.ID()] == (value == "true") }), nil
	case "external":
		return simple(func(i *builder.Image) bool { return f.foreign[i.ID()] }), nil
	}
	return nil, fmt.Errorf("invalid image filter \"containers=%s\": the value must be true, false or external", value)
}

func labelled(value string) holds {
	k, v, both := strings.Cut(value, "=")
	return func(ctx context.Context, i *builder.Image) (bool, error) {
		if i.Index() != nil {
			return false, nil
		}
		cfg, err := i.Config(ctx)
		if err != nil {
			return false, err
		}
		got, ok := cfg.Config.Labels[k]
		return ok && (!both || got == v), nil
	}
}

// pointInTime reads seconds since 1970, a date, or a duration that counts back from now.
func pointInTime(text string, now time.Time) (time.Time, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(n, 0), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("invalid time %q: want a date (2006-01-02T15:04:05Z), seconds since 1970, or a duration (24h)", text)
}

// referenceMatches tells whether a name matches a pattern, as a whole or from a slash on, with or without its tag.
func referenceMatches(pattern, name string) bool {
	bare := name
	if at := strings.LastIndex(name, ":"); at > strings.LastIndex(name, "/") {
		bare = name[:at]
	}
	for _, n := range []string{name, bare} {
		for {
			if ok, err := path.Match(pattern, n); ok && err == nil {
				return true
			}
			_, rest, found := strings.Cut(n, "/")
			if !found {
				break
			}
			n = rest
		}
	}
	return false
}

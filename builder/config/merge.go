package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// Merge reads a container configuration in Docker's schema and returns the change that lays it over an image's:
// what is not empty wins, variables go by name, ports, volumes and labels are united, and entrypoint and command are
// replaced together (containers.md §11.4).
func Merge(blob []byte) (Change, error) {
	if len(blob) > maxSize {
		return nil, fmt.Errorf("larger than %d bytes", maxSize)
	}
	var over Config
	if err := json.Unmarshal(blob, &over); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	for _, e := range over.Env {
		if k, _, _ := strings.Cut(e, "="); k == "" {
			return nil, fmt.Errorf("variable %q has no name", e)
		}
	}
	return func(i *Image) error { return merge(i, &over) }, nil
}

func merge(i *Image, over *Config) error {
	c := &i.Config
	for _, f := range []struct{ to, from *string }{
		{&c.Hostname, &over.Hostname}, {&c.Domainname, &over.Domainname}, {&c.User, &over.User},
		{&c.WorkingDir, &over.WorkingDir}, {&c.StopSignal, &over.StopSignal},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	for _, e := range over.Env {
		k, v, _ := strings.Cut(e, "=")
		if err := Env(k, v)(i); err != nil {
			return err
		}
	}
	c.ExposedPorts, c.Volumes, c.Labels = united(c.ExposedPorts, over.ExposedPorts), united(c.Volumes, over.Volumes), united(c.Labels, over.Labels)
	if len(over.Entrypoint) > 0 || len(over.Cmd) > 0 {
		c.Entrypoint, c.Cmd = over.Entrypoint, over.Cmd
	}
	if len(over.Shell) > 0 {
		c.Shell = over.Shell
	}
	if len(over.OnBuild) > 0 {
		c.OnBuild = over.OnBuild
	}
	if over.Healthcheck != nil {
		c.Healthcheck = over.Healthcheck
	}
	return nil
}

func united[V any](a, b map[string]V) map[string]V {
	if len(b) == 0 {
		return a
	}
	m := maps.Clone(b)
	for k, v := range a {
		if _, ok := m[k]; !ok {
			m[k] = v
		}
	}
	return m
}

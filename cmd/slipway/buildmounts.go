package main

import "github.com/slipway-build/slipway/builder"

// mountOptions reads what RUN may mount.
func (f *buildFlags) mountOptions() (err error) {
	if f.o.Mounts, err = parseMounts(f.mounts); err != nil {
		return err
	}
	for _, text := range f.secrets {
		s, err := builder.ParseSecret(text, f.g.env.lookup)
		if err != nil {
			return err
		}
		f.o.Secrets = append(f.o.Secrets, s)
	}
	for _, text := range f.ssh {
		a, err := builder.ParseAgent(text, f.g.env.lookup)
		if err != nil {
			return err
		}
		f.o.Agents = append(f.o.Agents, a)
	}
	return nil
}

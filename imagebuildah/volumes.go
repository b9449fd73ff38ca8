package imagebuildah

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/slipway-build/slipway/builder"
)

// volumes are the paths at which a RUN changes nothing that stays (Options.CompatVolumes), outer ones first: the volumes of the
// configuration, but where the RUN has a mount of its own.
func (st *stage) volumes(o builder.RunOptions) []string {
	if !st.b.o.CompatVolumes {
		return nil
	}
	var list []string
	for v := range st.cfg.Config.Volumes {
		v = path.Join("/", v)
		if v != "/" && !slices.ContainsFunc(o.Mounts, func(m builder.Mount) bool { return path.Join("/", m.Target) == v }) {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// below is what mounts of volumes are taken from: no name that a build file can write.
const below = "\x00below"

// preserve mounts over each volume what the stage has there, so that changes are thrown away. The caller calls done.
func (st *stage) preserve(ctx context.Context, o *builder.RunOptions, volumes []string) (done func() error, err error) {
	if len(volumes) == 0 {
		return func() error { return nil }, nil
	}
	root, done, err := st.b.s.OpenLayer(ctx, st.top)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		m := builder.Mount{Type: "bind", From: below, Source: v, Target: v}
		switch info, err := root.Lstat(v); {
		case errors.Is(err, fs.ErrNotExist):
			m = builder.Mount{Type: "tmpfs", Target: v}
		case err != nil:
			return nil, errors.Join(err, done())
		case !info.IsDir():
			continue
		}
		o.Mounts = append(o.Mounts, m)
	}
	open := o.Open
	o.Open = func(ctx context.Context, from string) (builder.MountSource, error) {
		if from == below {
			return builder.MountSource{Root: root, Close: func() error { return nil }}, nil
		}
		return open(ctx, from)
	}
	return done, nil
}

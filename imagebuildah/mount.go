package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier/rootfs"
	"github.com/slipway-build/slipway/imagebuildah/plan"
)

// mounts gives a RUN its mounts: those of the whole build, then its own. It returns what they say in the step's key: their
// texts and the digests of what is bound; what a cache, a secret or an agent holds is not part of it (decisions.md §2.1).
func (st *stage) mounts(ctx context.Context, c *plan.Run, o *builder.RunOptions) (options, content []string, err error) {
	b := st.b
	o.Context, o.IgnoreFile, o.Secrets, o.Agents = b.context, b.o.IgnoreFile, b.o.Secrets, b.o.Agents
	o.Open = func(ctx context.Context, from string) (builder.MountSource, error) {
		t, err := st.tree(ctx, from)
		if err != nil {
			return builder.MountSource{}, err
		}
		root, done, err := t.open()
		return builder.MountSource{Root: root, IgnoreFile: t.ignore, Close: done}, err
	}
	o.Identify = func(from string) (string, error) {
		t, err := st.tree(ctx, from)
		return t.layer, err
	}
	var own []builder.Mount
	for _, text := range c.Mounts {
		m, err := builder.ParseMount(text, st.scope.Expand)
		if err != nil {
			return nil, nil, err
		}
		own = append(own, m)
	}
	o.Mounts = append(append(o.Mounts, b.o.Mounts...), own...)
	for _, m := range o.Mounts {
		options = append(options, m.String())
		if m.Type != "bind" {
			continue
		}
		sum, err := st.bound(ctx, m)
		if err != nil {
			return nil, nil, err
		}
		content = append(content, sum)
	}
	return options, content, nil
}

// mountTree finds what a mount is taken from.
func (st *stage) mountTree(ctx context.Context, from string) (tree, error) {
	if from == "" {
		return st.b.files(), nil
	}
	return st.tree(ctx, from)
}

// bound is the digest of what a mount binds. A whole stage or image is known by its layers and not read for it.
func (st *stage) bound(ctx context.Context, m builder.Mount) (sum string, err error) {
	t, err := st.mountTree(ctx, m.From)
	if err != nil {
		return "", err
	}
	if t.layer != "" && (m.Source == "" || m.Source == "/") {
		return t.layer, nil
	}
	o := builder.CopyOptions{NoWildcard: true, KeepOwner: true, IgnoreFile: t.ignore}
	if m.From == "" {
		o.IgnoreFile = st.b.o.IgnoreFile
	}
	err = t.with(func(root *rootfs.Root) error {
		sum, err = digestOf(ctx, root, first(m.Source, "/"), o)
		return err
	})
	return sum, err
}

func digestOf(ctx context.Context, root *rootfs.Root, source string, o builder.CopyOptions) (string, error) {
	content, err := builder.ContentDigest(ctx, root, []string{source}, o)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("mount source %q: not found: no such file or directory", path.Join("/", source))
	}
	return content.Kind + content.Digest.String(), err
}

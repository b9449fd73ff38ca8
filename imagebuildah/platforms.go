package imagebuildah

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/builder"
	"github.com/slipway-build/slipway/copier/rootfs"
)

// AllPlatforms lists the platforms that all base images of a build have (--all-platforms). Bases that FROM takes for a
// platform of its own do not count, unless there are no others.
func AllPlatforms(ctx context.Context, s *builder.Store, o Options) ([]builder.Platform, error) {
	o.Platforms = nil
	j, err := newJob(s, o)
	if err != nil {
		return nil, err
	}
	if j.context, err = rootfs.Open(o.Context, rootfs.Ignore); err != nil {
		return nil, fmt.Errorf("opening build context: %w", err)
	}
	defer j.context.Close()
	if err := j.openers(ctx, o); err != nil {
		return nil, err
	}
	b := j.builds[0]
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	free, bound, err := b.bases()
	if err != nil {
		return nil, err
	}
	if len(free) == 0 {
		free = bound
	}
	if len(free) == 0 {
		return nil, errors.New("build uses no non-scratch base images")
	}
	var common []builder.Platform
	for n, name := range free {
		if name, err = o.Policy.apply(name); err != nil {
			return nil, err
		}
		ref, err := j.reference(name)
		if err != nil {
			return nil, err
		}
		list, err := s.Platforms(ctx, ref, o.Pull)
		if err != nil {
			return nil, err
		}
		common = slices.DeleteFunc(common, func(p builder.Platform) bool { return !slices.Contains(list, p) })
		for _, p := range list {
			if n == 0 && !slices.Contains(common, p) {
				common = append(common, p)
			}
		}
	}
	if len(common) == 0 {
		return nil, errors.New("base images have no platforms in common")
	}
	return common, nil
}

// bases are the images that the stages which are needed begin with: those for the build's platform, and those for one that FROM names.
func (b *build) bases() (free, bound []string, err error) {
	for _, i := range b.needed {
		if name, files := b.baseFiles(i); files {
			return nil, nil, fmt.Errorf("build context %q is not an image, can not be used for FROM %q", b.contexts[contextName(name)].value, name)
		}
		name, err := b.baseName(i)
		if err != nil {
			return nil, nil, err
		}
		if _, stage := b.baseStage(i); stage || name == builder.Scratch {
			continue
		}
		if b.plan.Stages[i].Platform != "" {
			bound = append(bound, name)
		} else {
			free = append(free, name)
		}
	}
	return free, bound, nil
}

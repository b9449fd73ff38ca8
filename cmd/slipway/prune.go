package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/slipway-build/slipway/builder"
)

func newPruneCmd(g *globals) *cobra.Command {
	var all, force bool
	var age time.Duration
	var size string
	cmd := &cobra.Command{
		Use: "prune [flags]", Short: "Delete the build cache and images that nothing needs", Args: cobra.NoArgs,
		Long: "Delete cached steps that no image stands on, the content of cache mounts, and nameless images that no image is built on.\n\n" +
			"With --older-than or --keep-size only cached steps are deleted, until the limits are kept.",
		Example: "  prune\n  prune --all\n  prune --older-than 168h --keep-size 5GB",
	}
	fs := cmd.Flags()
	fs.BoolVarP(&all, "all", "a", false, "all images that no container uses")
	fs.BoolVarP(&force, "force", "f", false, "also working containers that use the images")
	fs.DurationVar(&age, "older-than", 0, "only cached steps unused for that `duration`")
	fs.StringVar(&size, "keep-size", "", "only cached steps above that `size` together, those unused for longest")
	cmd.RunE = g.withStore(func(ctx context.Context, s *builder.Store, _ []string) error {
		aged, sized := fs.Changed("older-than"), fs.Changed("keep-size")
		limit := builder.CacheLimit{Unused: age, All: !aged && !sized}
		if sized {
			var err error
			if limit.Size, err = units.FromHumanSize(size); err != nil || limit.Size <= 0 {
				return fmt.Errorf("invalid --keep-size %q: want a size such as 500MB", size)
			}
		}
		if aged && age <= 0 {
			return fmt.Errorf("invalid --older-than %s: want a duration such as 168h; without it all cached steps are deleted", age)
		}
		if !limit.All && (all || force) {
			return errors.New("--older-than and --keep-size are for cached steps: they can not be used with --all or --force")
		}
		var freed pruned
		before, err := s.LayerSizes()
		if err != nil {
			return err
		}
		err = freed.cache(ctx, s, limit) // first: it is refused while a build runs
		if err == nil && limit.All {
			err = errors.Join(g.pruneImages(ctx, s, all, force), freed.cache(ctx, s, limit)) // what the images stood on
		}
		if errors.Is(err, builder.ErrInUse) {
			return err // nothing was deleted
		}
		after, lerr := s.LayerSizes()
		if lerr != nil {
			return errors.Join(err, lerr)
		}
		for id, size := range before { // of steps, of images, and of bases that only steps stood on
			if _, there := after[id]; !there {
				freed.bytes += size
			}
		}
		fmt.Fprintf(g.err, "Deleted %d cached steps; %s freed\n", freed.steps, units.HumanSize(float64(freed.bytes)))
		return err
	})
	return cmd
}

// pruned counts what was deleted: steps, and bytes of cache mounts.
type pruned struct {
	steps int
	bytes int64
}

// cache deletes cached steps, and with no limit the content of cache mounts.
func (p *pruned) cache(ctx context.Context, s *builder.Store, limit builder.CacheLimit) error {
	steps, err := s.PruneCache(ctx, limit)
	p.steps += len(steps)
	if err != nil || !limit.All {
		return err
	}
	mounts, err := s.PruneMounts()
	p.bytes += mounts
	return errors.Join(err, s.SweepPulls())
}

// pruneImages deletes nameless images, or all, until there are no more: one may have stood on another.
func (g *globals) pruneImages(ctx context.Context, s *builder.Store, all, force bool) error {
	for {
		names, err := doomed(s, all, !all, nil)
		if err != nil || len(names) == 0 {
			return err
		}
		if !force {
			if names, err = unused(s, names); err != nil || len(names) == 0 {
				return err
			}
		}
		if err := g.remove(names, func(id string) (builder.Removed, error) {
			return s.RemoveImage(ctx, id, builder.RemoveOptions{Names: true, Containers: force})
		}); err != nil || all {
			return err
		}
	}
}

// unused leaves out the images that containers are based on.
func unused(s *builder.Store, ids []string) (list []string, err error) {
	containers, err := s.Containers(true)
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, c := range containers {
		used[c.ImageID] = true
	}
	for _, id := range ids {
		if !used[id] {
			list = append(list, id)
		}
	}
	return list, nil
}

// fullDisk tells who has run out of space what a prune would give back (decisions.md §2.5). Children report in words only.
func (g *globals) fullDisk(s *builder.Store, err error) error {
	if err == nil || !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		return err
	}
	var at *fs.PathError
	if errors.As(err, &at) && strings.HasPrefix(at.Path, "/dev/") {
		return err // /dev/full, or what standard output is: no disk of ours
	}
	uses, uerr := s.DiskUse()
	if uerr != nil {
		return err
	}
	var free int64
	for _, u := range uses {
		if u.Kind == "Build cache" || u.Kind == "Cache mounts" {
			free += u.Reclaimable
		}
	}
	if free == 0 {
		return fmt.Errorf("%w; \"%s system df\" shows what takes space", err, g.program)
	}
	return fmt.Errorf("%w; \"%s prune\" would free %s of build cache", err, g.program, units.HumanSize(float64(free)))
}

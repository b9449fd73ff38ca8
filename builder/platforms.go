package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/storage"

	"github.com/slipway-build/slipway/builder/internal/manifest"
)

// Platforms lists the platforms that an image is there for: those of the list of its name, in local storage or where the policy
// lets look, else its own. Members of no platform, as attestations, are left out.
func (s *Store) Platforms(ctx context.Context, name string, o PullOptions) ([]Platform, error) {
	bare := strings.TrimPrefix(name, "docker://")
	local, err := s.findImage(bare)
	if err != nil && !errors.Is(err, ErrNoImage) {
		return nil, err
	}
	if local != nil && o.Policy != PullAlways && o.Policy != PullNewer {
		if x := s.image(local).Index(); x != nil {
			return platformsOf(x.list.Manifests), nil
		}
	}
	var found []member
	if o.Policy == PullNever {
		err = fmt.Errorf("%s: %w", name, ErrNoImage)
	} else {
		found, err = s.remotePlatforms(ctx, name, local, o)
	}
	if err != nil {
		if local == nil {
			return nil, err
		}
		m, err := s.localMember(ctx, s.image(local))
		if err != nil {
			return nil, err
		}
		found = []member{m}
	}
	var entries []manifest.Entry
	for _, m := range found {
		entries = append(entries, m.Entry)
	}
	return platformsOf(entries), nil
}

// remotePlatforms asks the places that a name may stand for: those that it would be pulled from.
func (s *Store) remotePlatforms(ctx context.Context, name string, local *storage.Image, o PullOptions) (found []member, err error) {
	ref, err := parseTransport(name)
	if err != nil {
		return nil, err
	}
	eo := EntryOptions{All: true, Registry: o.Registry}
	if ref != nil {
		return s.remoteMembers(ctx, ref, eo)
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	candidates, err := s.pullCandidates(name, named, local)
	if err != nil {
		return nil, err
	}
	if local != nil && reference.Domain(candidates[0].Value) == "localhost" {
		eo.Registry.Retries = 0 // it was made here, and hardly anywhere else
	}
	var errs []error
	for _, c := range candidates {
		ref, err := registrySource(c.Value.String())
		if err == nil {
			found, err = s.remoteMembers(ctx, ref, eo)
		}
		if err == nil {
			return found, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func platformsOf(entries []manifest.Entry) (list []Platform) {
	for _, e := range entries {
		p := e.Platform
		if p == nil || p.OS == "" || p.OS == "unknown" || p.Architecture == "" || p.Architecture == "unknown" {
			continue
		}
		list = append(list, Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant})
	}
	return list
}

package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
)

// relay copies from one place to another without storing anything here. Between names of one repository only the
// manifest is written.
func (s *Store) relay(ctx context.Context, src, dest types.ImageReference, o PushOptions) (digest.Digest, error) {
	if err := exists(src); err != nil {
		return "", fmt.Errorf("reading image %s: %w", refText(src), err)
	}
	if sameRepository(src, dest) && o.Format == "" && !o.ListOnly && o.Compression == (Compression{}) && len(o.AddCompression) == 0 &&
		len(o.Encrypt.Keys)+len(o.Registry.DecryptionKeys) == 0 {
		return s.retag(ctx, src, dest, o.Registry)
	}
	to, err := s.system(o.Registry, Platform{})
	if err != nil {
		return "", err
	}
	from := *to
	if inRegistry(src) && inRegistry(dest) && reference.Domain(src.DockerReference()) != reference.Domain(dest.DockerReference()) {
		from.DockerAuthConfig = nil // --creds are the destination's, or of the only registry there is
	}
	if err := compress(to, o.Compression, true); err != nil {
		return "", err
	}
	return o.digestOf(s.send(ctx, dest, src, o, copy.Options{SourceCtx: &from, DestinationCtx: to}))
}

func inRegistry(r types.ImageReference) bool { return r.Transport().Name() == docker.Transport.Name() }

func sameRepository(a, b types.ImageReference) bool {
	return inRegistry(a) && inRegistry(b) && a.DockerReference().Name() == b.DockerReference().Name()
}

// retag gives a manifest of a repository another tag. Everything that it names is there already: the registry is sent
// the manifest and nothing else.
func (s *Store) retag(ctx context.Context, src, dest types.ImageReference, r Registry) (d digest.Digest, err error) {
	pc, err := s.policyContext(r, src)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, pc.Destroy()) }()
	var raw []byte
	err = s.readRemote(ctx, src, r, func(from types.ImageSource, sys *types.SystemContext) error {
		unparsed := image.UnparsedInstance(from, nil)
		if ok, err := pc.IsRunningImageAllowed(ctx, unparsed); !ok {
			//lint:ignore ST1005 the family's text (cli.md §14)
			return fmt.Errorf("Source image rejected: %w", err)
		}
		if raw, _, err = unparsed.Manifest(ctx); err != nil {
			return err
		}
		to, err := dest.NewImageDestination(ctx, sys)
		if err != nil {
			return err
		}
		return errors.Join(to.PutManifest(ctx, raw, nil), to.Close())
	})
	if err != nil {
		return "", fmt.Errorf("tagging %s: %w", refText(dest), err)
	}
	return digest.FromBytes(raw), nil
}

// policyContext is the signature policy in force for images from src, ready to judge them. The caller destroys it. Where the policy says nothing
// of local storage, what is there may leave it: it was judged when it came, or made here.
func (s *Store) policyContext(r Registry, src types.ImageReference) (*signature.PolicyContext, error) {
	policy, _, err := s.Policy(r.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("reading signature policy: %w", err)
	}
	if _, scoped := policy.Transports[istorage.Transport.Name()]; !scoped && isStored(src) {
		policy = acceptAll()
	}
	return signature.NewPolicyContext(policy)
}

// isStored tells whether all of a source is in local storage.
func isStored(src types.ImageReference) bool {
	if x, list := src.(indexRef); list {
		for _, place := range x.x.where {
			if localImage(place) == "" {
				return false
			}
		}
	}
	return src.Transport().Name() == istorage.Transport.Name()
}

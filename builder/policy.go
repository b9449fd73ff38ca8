package builder

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
)

// sources is what BUILD_REGISTRY_SOURCES says of registries (cli.md §3).
type sources struct {
	Insecure []string `json:"insecureRegistries"`
	Blocked  []string `json:"blockedRegistries"`
	Allowed  []string `json:"allowedRegistries"`
}

// registrySources reads the variable. One that can't be read is an error: it is there to forbid things.
func (s *Store) registrySources() (sources, error) {
	var found sources
	text, ok := s.o.Environ("BUILD_REGISTRY_SOURCES")
	if !ok || text == "" {
		return found, nil
	}
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		return found, fmt.Errorf("reading BUILD_REGISTRY_SOURCES: %w", err)
	}
	return found, nil
}

// A DeniedError says that BUILD_REGISTRY_SOURCES forbids a registry.
type DeniedError struct{ Host, Reason string }

func (e *DeniedError) Error() string {
	return fmt.Sprintf("registry %q denied by policy: %s", e.Host, e.Reason)
}

// permit fails if a registry that ref is in is forbidden, and relaxes TLS in sys for one that is listed as insecure, unless r insists. Credentials
// that the library would not find go into sys as well.
func (s *Store) permit(ref types.ImageReference, r Registry, sys *types.SystemContext) error {
	if ref.Transport().Name() != docker.Transport.Name() {
		return nil
	}
	list, err := s.registrySources()
	if err != nil {
		return err
	}
	host := reference.Domain(ref.DockerReference())
	if slices.Contains(list.Blocked, host) {
		return &DeniedError{host, "it is in the blocked registries list"}
	}
	if len(list.Allowed) > 0 && !slices.Contains(list.Allowed, host) {
		return &DeniedError{host, "not in allowed registries list"}
	}
	if slices.Contains(list.Insecure, host) && r.TLSVerify == nil {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return s.storedCreds(ref.DockerReference(), sys)
}

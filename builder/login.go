package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
	"golang.org/x/sys/unix"
)

// ErrNotLoggedIn says that no credentials are stored for a registry.
var ErrNotLoggedIn = errors.New("not logged in")

// Logins are the stored credentials for registries: auth.json, what Docker stored, and credential helpers (cli.md §7). No storage is
// needed for them.
type Logins struct {
	sys types.SystemContext
}

// OpenLogins returns the credentials of a file, of the default files if both names are empty. compat names a file of Docker's
// format. Files need not exist yet.
func OpenLogins(o StoreOptions, r Registry, compat string) (*Logins, error) {
	if r.AuthFile != "" && compat != "" {
		return nil, errors.New("options for paths to the credential file and to the Docker-compatible credential file can not be set simultaneously")
	}
	file := r.AuthFile
	r.AuthFile = ""
	sys, err := registryContext(o.context(o.Root), r, Platform{})
	if err != nil {
		return nil, err
	}
	sys.AuthFilePath, sys.DockerCompatAuthFilePath = file, compat
	return &Logins{*sys}, nil
}

// loginKey returns what credentials are stored under, and the registry's host.
func loginKey(registry string) (key, host string, err error) {
	key = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://"), "/")
	host, path, _ := strings.Cut(key, "/")
	if path != "" {
		if _, err := reference.ParseNamed(key); err != nil {
			return "", "", fmt.Errorf("%q is neither a registry nor a repository in one: %w", registry, err)
		}
	}
	if host == "" || strings.ContainsAny(key, "@ ") {
		return "", "", fmt.Errorf("%q is no registry", registry)
	}
	return key, host, nil
}

// User returns the name that is stored for a registry; the error is ErrNotLoggedIn when there is none.
func (l *Logins) User(registry string) (string, error) {
	a, err := l.stored(registry)
	return a.Username, err
}

func (l *Logins) stored(registry string) (types.DockerAuthConfig, error) {
	key, _, err := loginKey(registry)
	if err != nil {
		return types.DockerAuthConfig{}, err
	}
	a, err := config.GetCredentials(&l.sys, key)
	if err != nil {
		return a, fmt.Errorf("reading credentials: %w", err)
	}
	if a == (types.DockerAuthConfig{}) {
		return a, ErrNotLoggedIn
	}
	return a, nil
}

// Check asks the registry whether the stored credentials are good.
func (l *Logins) Check(ctx context.Context, registry string) error {
	a, err := l.stored(registry)
	if err != nil {
		return err
	}
	return l.try(ctx, registry, a.Username, a.Password)
}

func (l *Logins) try(ctx context.Context, registry, user, password string) error {
	_, host, err := loginKey(registry)
	if err != nil {
		return err
	}
	err = docker.CheckAuth(ctx, &l.sys, user, password, host)
	var refused docker.ErrUnauthorizedForCredentials
	if errors.As(err, &refused) {
		return fmt.Errorf("logging into %q: invalid username/password", host)
	}
	if err != nil {
		return fmt.Errorf("logging into %q: %w", host, err)
	}
	return nil
}

// Login stores credentials that the registry has accepted, and returns where.
func (l *Logins) Login(ctx context.Context, registry, user, password string) (string, error) {
	key, _, err := loginKey(registry)
	if err != nil {
		return "", err
	}
	if err := l.try(ctx, registry, user, password); err != nil {
		return "", err
	}
	where, err := config.SetCredentials(&l.sys, key, user, password)
	if err != nil {
		return "", fmt.Errorf("storing credentials: %w", otherFile(err))
	}
	return where, nil
}

// Logout forgets the credentials of a registry. external says that there were none of ours, but some that Docker stored and that stay.
func (l *Logins) Logout(registry string) (external bool, err error) {
	key, _, err := loginKey(registry)
	if err != nil {
		return false, err
	}
	err = config.RemoveAuthentication(&l.sys, key)
	if err == nil {
		return false, nil
	}
	if !errors.Is(err, config.ErrNotLoggedIn) {
		return false, fmt.Errorf("removing credentials: %w", otherFile(err))
	}
	if _, serr := l.stored(registry); serr == nil {
		return true, nil
	}
	return false, fmt.Errorf("not logged into %s", key)
}

// LogoutAll forgets all credentials.
func (l *Logins) LogoutAll() error {
	err := config.RemoveAllAuthentication(&l.sys)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("removing credentials: %w", otherFile(err))
}

// otherFile adds to an error what to do where the default file cannot be written, as in pods.
func otherFile(err error) error {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return fmt.Errorf("%w: name another file with --authfile or $REGISTRY_AUTH_FILE", err)
	}
	return err
}

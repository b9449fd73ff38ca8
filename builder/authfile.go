package builder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/docker/docker-credential-helpers/client"
	"github.com/docker/docker-credential-helpers/credentials"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/internal/userns"
)

// pipedFiles are copies, in memory, of files that can be read once only.
type pipedFiles struct {
	mu   sync.Mutex
	open map[string]*os.File
}

// maxAuthFile bounds what is read of a file with credentials, in bytes.
const maxAuthFile = 1 << 20

// authFile returns the name of a file that can be read again and again, as the image library does: a pipe, as of a shell's <(command), is
// read once and kept in memory. The copy is gone with this process.
func (s *Store) authFile(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	fi, err := os.Stat(name)
	if err != nil || fi.Mode().IsRegular() {
		return name, nil //nolint:nilerr // registryContext says what is wrong with it
	}
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	f := s.auth.open[name]
	if f == nil {
		if f, err = inMemory(name); err != nil {
			return "", fmt.Errorf("credential file is not accessible: %w", err)
		}
		if s.auth.open == nil {
			s.auth.open = map[string]*os.File{}
		}
		s.auth.open[name] = f
	}
	return fmt.Sprintf("/proc/self/fd/%d", f.Fd()), nil
}

// ownAuthFile returns the file with the credentials of an ordinary user whose runtime directory is not known. The image library, which sees root of
// a user namespace, would read the host's root's, and fail where it may not. Empty: what the library does is right.
func (s *Store) ownAuthFile() string {
	lookup := func(name string) string { v, _ := s.o.Environ(name); return v }
	uid, home := userns.Outside(), lookup("HOME")
	if uid == 0 || lookup("XDG_RUNTIME_DIR") != "" {
		return ""
	}
	const perUser = "/run/containers/%d/auth.json"
	own := fmt.Sprintf(perUser, uid)
	if _, err := os.Stat(own); err == nil {
		return own
	}
	if f, err := os.Open(fmt.Sprintf(perUser, 0)); err == nil || errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			f.Close()
		}
		return ""
	}
	name := first(lookup("XDG_CONFIG_HOME"), home+"/.config") + "/containers/auth.json"
	if _, err := os.Stat(name); err != nil {
		name = first(lookup("DOCKER_CONFIG"), home+"/.docker") + "/config.json" // if that is not there: no credentials
	}
	return name
}

// inMemory copies a file to one without a name.
func inMemory(name string) (*os.File, error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	fd, err := unix.MemfdCreate("credentials", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "credentials")
	n, err := io.Copy(f, io.LimitReader(in, maxAuthFile+1))
	if err == nil && n > maxAuthFile {
		err = fmt.Errorf("%s is larger than %d bytes", name, maxAuthFile)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// storedCreds puts credentials of Docker's credsStore into sys, if there is one and nothing else is known for the registry: the library
// asks helpers that are named for a registry (credHelpers), but not the one for all.
func (s *Store) storedCreds(named reference.Named, sys *types.SystemContext) error {
	if sys.DockerAuthConfig != nil {
		return nil
	}
	helper, err := s.credsStore(sys.AuthFilePath)
	if err != nil || helper == "" {
		return err
	}
	// What is in sys goes to mirrors, too, and those are none of the helper's.
	if reg, err := sysregistriesv2.FindRegistry(sys, named.Name()); err != nil || reg != nil && (len(reg.Mirrors) > 0 || reg.Location != reg.Prefix) {
		return err
	}
	known, err := config.GetCredentialsForRef(sys, named)
	if err != nil || known != (types.DockerAuthConfig{}) {
		return err
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = "https://index.docker.io/v1/" // what Docker stores it under
	}
	found, err := client.Get(client.NewShellProgramFunc("docker-credential-"+helper), server)
	if credentials.IsErrCredentialsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking credential helper %s (credsStore) for %s: %w", helper, server, err)
	}
	a := types.DockerAuthConfig{Username: found.Username, Password: found.Secret}
	if found.Username == "<token>" {
		a = types.DockerAuthConfig{IdentityToken: found.Secret}
	}
	sys.DockerAuthConfig = &a
	return nil
}

// credsStore returns the helper for all registries that a file of Docker's format names, "" for none.
func (s *Store) credsStore(file string) (string, error) {
	if file == "" {
		dir, _ := s.o.Environ("DOCKER_CONFIG")
		if home, _ := s.o.Environ("HOME"); dir == "" && filepath.IsAbs(home) {
			dir = filepath.Join(home, ".docker")
		}
		if dir == "" {
			return "", nil
		}
		file = filepath.Join(dir, "config.json")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil //nolint:nilerr // the library reads it as well, and complains
	}
	var conf struct {
		CredsStore string `json:"credsStore"`
	}
	if json.Unmarshal(text, &conf) != nil {
		return "", nil
	}
	if strings.ContainsRune(conf.CredsStore, '/') {
		return "", fmt.Errorf("%s: credsStore %q is no name of a helper", file, conf.CredsStore)
	}
	return conf.CredsStore, nil
}

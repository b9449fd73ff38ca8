package builder

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/containers/image/v5/docker/daemon"
	"github.com/containers/image/v5/types"
)

// dockerHost is where Docker's daemon listens unless DOCKER_HOST says otherwise.
const dockerHost = "unix:///var/run/docker.sock"

// dockerDaemon says which daemon docker-daemon: means: the one that Docker's own client would ask.
func (o *StoreOptions) dockerDaemon(sys *types.SystemContext) {
	if o.Environ == nil {
		return
	}
	host, _ := o.Environ("DOCKER_HOST")
	verify, _ := o.Environ("DOCKER_TLS_VERIFY")
	certs, _ := o.Environ("DOCKER_CERT_PATH")
	if rest, tcp := strings.CutPrefix(host, "tcp://"); tcp && verify == "" {
		host = "http://" + rest // in the words of the library
	}
	sys.DockerDaemonHost, sys.DockerDaemonCertPath = host, certs
}

// daemonAnswers looks whether Docker's daemon is there, if ref is to be written to it: the library says only that a pipe is closed.
func daemonAnswers(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) error {
	if ref.Transport().Name() != daemon.Transport.Name() {
		return nil
	}
	host := first(sys.DockerDaemonHost, dockerHost)
	at, err := url.Parse(host)
	if err != nil {
		return fmt.Errorf("DOCKER_HOST: %w", err)
	}
	network, address := "tcp", at.Host
	switch at.Scheme {
	case "unix":
		network, address = "unix", at.Path
	case "http", "https", "tcp":
	default:
		return fmt.Errorf("DOCKER_HOST %s: want unix://PATH or tcp://HOST:PORT", host)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return fmt.Errorf("no Docker daemon answers at %s (DOCKER_HOST may name another): %w", host, err)
	}
	return conn.Close()
}

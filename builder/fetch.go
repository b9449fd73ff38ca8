package builder

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	"github.com/containers/image/v5/pkg/tlsclientconfig"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/builder/source"
)

// FetchOptions says how a source that is not on this machine is fetched.
type FetchOptions struct {
	// Registry's retries, certificates and TLS check hold for downloads too.
	Registry Registry
	// Checksum is the digest of a download, or the commit of a repository; empty checks nothing.
	Checksum string
	// Known is what was fetched of that URL before; nil knows nothing.
	Known *source.Known
	// KeepGitDir keeps ".git"; nil leaves it to the URL.
	KeepGitDir *bool
	// CommitTime gives every file of a repository the time of the commit.
	CommitTime bool
	// Environ is the environment of git ("K=V"); nil is this process's.
	Environ []string
	// Secrets may hold what servers ask for: HTTP_AUTH_HEADER_<host>, HTTP_AUTH_TOKEN_<host>, GIT_AUTH_HEADER and GIT_AUTH_TOKEN, also
	// with ".<host>" behind it. Others are not looked at.
	Secrets []Secret
}

// Download is the file behind an http or https URL. Nothing is fetched before it is opened.
func (s *Store) Download(url string, o FetchOptions) (source.Source, error) {
	client, err := httpClient(o.Registry)
	if err != nil {
		return nil, err
	}
	auth, err := s.downloadAuthorization(o.Secrets, url)
	if err != nil {
		return nil, err
	}
	return source.URL(url, source.URLOptions{
		Checksum: digest.Digest(o.Checksum), Known: o.Known, Client: client, Authorization: auth,
		Retry: func(ctx context.Context, f func() error) error { return s.retry(ctx, o.Registry, f) },
	})
}

// Git is the content of a repository. Nothing is fetched before it is opened.
func (s *Store) Git(word string, o FetchOptions) (*source.GitSource, error) {
	auth, err := s.gitAuthorization(o.Secrets, word)
	if err != nil {
		return nil, err
	}
	return source.Git(word, source.GitOptions{Scratch: s.scratch, KeepDir: o.KeepGitDir, Commit: o.Checksum, CommitTime: o.CommitTime, Environ: o.Environ, Authorization: auth})
}

func httpClient(r Registry) (*http.Client, error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("the HTTP transport is a %T", http.DefaultTransport)
	}
	transport = transport.Clone()
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.TLSVerify != nil {
		config.InsecureSkipVerify = !*r.TLSVerify
	}
	if r.CertDir != "" {
		if err := tlsclientconfig.SetupCertificates(r.CertDir, config); err != nil {
			return nil, fmt.Errorf("reading certificates: %w", err)
		}
	}
	transport.TLSClientConfig = config
	return &http.Client{Transport: transport, CheckRedirect: source.Redirect}, nil
}

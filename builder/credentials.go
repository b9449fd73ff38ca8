package builder

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// downloadAuthorization is the header Authorization for the host of a URL, as far as secrets have one: HTTP_AUTH_HEADER_<host> is all of
// it, HTTP_AUTH_TOKEN_<host> a token (dockerfile.md §6.9). The host may have its port.
func (s *Store) downloadAuthorization(secrets []Secret, text string) (string, error) {
	hosts := hostsOf(text)
	header, err := s.secretFor(secrets, "HTTP_AUTH_HEADER_", hosts)
	if header != "" || err != nil {
		return header, err
	}
	token, err := s.secretFor(secrets, "HTTP_AUTH_TOKEN_", hosts)
	if token != "" {
		token = "Bearer " + token
	}
	return token, err
}

// gitAuthorization is the same for a repository: GIT_AUTH_HEADER and GIT_AUTH_TOKEN, for one host alone with "." and its name behind it.
// A token is a password, as the large servers take it.
func (s *Store) gitAuthorization(secrets []Secret, remote string) (string, error) {
	var hosts []string
	for _, h := range hostsOf(remote) {
		hosts = append(hosts, "."+h)
	}
	if hosts == nil {
		return "", nil // by ssh, which has agents
	}
	hosts = append(hosts, "")
	header, err := s.secretFor(secrets, "GIT_AUTH_HEADER", hosts)
	if header != "" || err != nil {
		return header, err
	}
	token, err := s.secretFor(secrets, "GIT_AUTH_TOKEN", hosts)
	if token != "" {
		token = "Basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+token))
	}
	return token, err
}

// hostsOf are the ways to name the host of an http or https URL.
func hostsOf(text string) []string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	if u.Port() == "" {
		return []string{u.Host}
	}
	return []string{u.Host, u.Hostname()}
}

// secretFor is the first secret whose id is the prefix with one of the endings, as a line of a header; empty for none.
func (s *Store) secretFor(secrets []Secret, prefix string, endings []string) (string, error) {
	for _, end := range endings {
		for _, secret := range secrets {
			if secret.ID != prefix+end {
				continue
			}
			value, ok, err := secret.value(s.o.Environ)
			text := strings.TrimSpace(string(value))
			if err == nil && strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				err = errors.New("more than one line")
			}
			if err != nil {
				return "", fmt.Errorf("secret %s: %w", secret.ID, err)
			}
			if ok && text != "" {
				return text, nil
			}
		}
	}
	return "", nil
}

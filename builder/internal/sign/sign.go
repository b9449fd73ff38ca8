// Package sign makes simple signatures: a small JSON document that names a manifest and what it is to be called, signed with
// one of the user's OpenPGP keys (containers/image, docs/containers-signature.5.md). The keys are GnuPG's, and so is the
// work: gpg is called, since the image library needs cgo for that. Verifying needs no gpg and is the library's.
package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/internal/version"
)

// A Key is a secret key in the caller's GnuPG keyring.
type Key struct {
	// Name is a fingerprint, or anything else that gpg takes for a key.
	Name string
	// Passphrase unlocks it; with nil GnuPG's agent asks, or remembers.
	Passphrase []byte
}

// Check fails if there is no such key. Whether it can be unlocked is only known once it signs.
func (k Key) Check(ctx context.Context) error {
	_, err := k.gpg(ctx, nil, "--list-secret-keys", "--", k.Name)
	if err != nil {
		return fmt.Errorf("looking for the key %q to sign with: %w", k.Name, err)
	}
	return nil
}

// Manifest signs the statement that the manifest with that digest is the image called identity.
func (k Key) Manifest(ctx context.Context, manifest digest.Digest, identity string, now time.Time) ([]byte, error) {
	text, err := payload(manifest, identity, now)
	if err != nil {
		return nil, err
	}
	blob, err := k.gpg(ctx, text, "--sign", "--local-user="+k.Name, "--output=-")
	if err != nil {
		return nil, fmt.Errorf("signing with key %q: %w", k.Name, err)
	}
	return blob, nil
}

// payload is the document that is signed. Verifiers want exactly these keys in "critical"; "optional" is for people.
func payload(manifest digest.Digest, identity string, now time.Time) ([]byte, error) {
	return json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]string{"docker-manifest-digest": manifest.String()},
			"identity": map[string]string{"docker-reference": identity},
		},
		"optional": map[string]any{"creator": "slipway " + version.Version, "timestamp": now.Unix()},
	})
}

// gpg runs GnuPG and returns what it prints. The passphrase goes through a pipe: arguments and variables can be seen by others.
func (k Key) gpg(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	flags := []string{"--batch", "--no-tty", "--quiet"}
	var out, complaint bytes.Buffer
	var pass *os.File
	if k.Passphrase != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		_, err = w.Write(append(bytes.Clone(k.Passphrase), '\n')) // fits into the pipe
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, err
		}
		pass, flags = r, append(flags, "--pinentry-mode=loopback", "--passphrase-fd=3")
	}
	cmd := exec.CommandContext(ctx, "gpg", append(flags, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &complaint
	if pass != nil {
		cmd.ExtraFiles = []*os.File{pass}
	}
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("gpg is not installed: install GnuPG")
	}
	if err != nil {
		if text := lastLine(complaint.String()); text != "" {
			return nil, errors.New(text)
		}
		return nil, fmt.Errorf("gpg: %w", err)
	}
	return out.Bytes(), nil
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

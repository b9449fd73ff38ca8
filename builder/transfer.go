package builder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/pkg/blobcache"
	"github.com/containers/image/v5/pkg/compression"
	"github.com/containers/image/v5/signature"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/docker/distribution/registry/api/errcode"

	"github.com/slipway-build/slipway/builder/internal/hostconf"
	"github.com/slipway-build/slipway/builder/source"
	"github.com/slipway-build/slipway/internal/userns"
)

// context is the image library's context for all operations on storage in a directory.
func (o *StoreOptions) context(root string) types.SystemContext {
	sys := types.SystemContext{
		SystemRegistriesConfPath:    o.registriesConf(root),
		SystemRegistriesConfDirPath: o.RegistriesConfDir,
		UserShortNameAliasConfPath:  o.ShortNameAliases,
		BigFilesTemporaryDir:        o.TempDir,
		DockerRegistryUserAgent:     "slipway",
	}
	o.dockerDaemon(&sys)
	return sys
}

// registriesConf is the file that replaces registries.conf, empty for none: it is asked for, or in an ordinary user's storage (cli.md §7).
func (o *StoreOptions) registriesConf(root string) string {
	if o.RegistriesConf != "" {
		return o.RegistriesConf
	}
	if o.Environ != nil {
		if file, _ := o.Environ("CONTAINERS_REGISTRIES_CONF"); file != "" {
			return file
		}
	}
	if own := filepath.Join(root, "registries.conf"); root != "" && userns.Outside() != 0 {
		if _, err := os.Stat(own); err == nil {
			return own
		}
	}
	return ""
}

// system returns the image library's context for one operation.
func (s *Store) system(r Registry, p Platform) (*types.SystemContext, error) {
	var err error
	if r.AuthFile, err = s.authFile(r.AuthFile); err != nil {
		return nil, err
	}
	sys, err := registryContext(s.sys, r, p)
	if err == nil && sys.AuthFilePath == "" {
		sys.AuthFilePath = s.ownAuthFile()
	}
	return sys, err
}

func registryContext(sys types.SystemContext, r Registry, p Platform) (*types.SystemContext, error) {
	sys.OSChoice, sys.ArchitectureChoice, sys.VariantChoice = p.OS, p.Arch, p.Variant
	sys.SignaturePolicyPath = r.PolicyFile
	if r.AuthFile != "" {
		if _, err := os.Stat(r.AuthFile); err != nil {
			return nil, fmt.Errorf("credential file is not accessible: %w", err)
		}
		sys.AuthFilePath = r.AuthFile
	}
	if r.CertDir != "" {
		sys.DockerCertPath, sys.OCICertPath = r.CertDir, r.CertDir
	}
	if r.Creds != "" {
		user, password, _ := strings.Cut(r.Creds, ":")
		if user == "" {
			return nil, errors.New("credentials need a user name, as in user:password")
		}
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: user, Password: password}
	}
	if r.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*r.TLSVerify)
		sys.OCIInsecureSkipTLSVerify = !*r.TLSVerify
		sys.DockerDaemonInsecureSkipTLSVerify = !*r.TLSVerify
	}
	return &sys, nil
}

// Policy returns the signature policy in force and the file it is from, empty for the built-in one,
// which accepts everything: no file is needed (platform.md §2).
func (s *Store) Policy(file string) (*signature.Policy, string, error) {
	if file != "" {
		p, err := signature.NewPolicyFromFile(file)
		return p, file, err
	}
	p, err := signature.DefaultPolicy(nil)
	if err != nil && (errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "no policy.json file found")) {
		return acceptAll(), "", nil
	}
	return p, "policy.json", err
}

func acceptAll() *signature.Policy {
	return &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
}

// transfer copies one image, retrying after network failures as r says. Messages go to report.
func (s *Store) transfer(ctx context.Context, dest, src types.ImageReference, r Registry, o copy.Options) ([]byte, error) {
	pc, err := s.policyContext(r, src)
	if err != nil {
		return nil, err
	}
	defer pc.Destroy()
	o.RemoveSignatures = o.RemoveSignatures || r.RemoveSignatures
	if hostconf.Mention(s.confFiles(), "image_parallel_copies") {
		conf, err := s.conf()
		if err != nil {
			return nil, err
		}
		o.MaxParallelDownloads = conf.Engine.ParallelCopies
	}
	if o.OciDecryptConfig, err = decryption(r.DecryptionKeys, dest); err != nil {
		return nil, err
	}
	dir, done, err := s.scratch()
	if err != nil {
		return nil, err
	}
	defer func() {
		if derr := done(); derr != nil {
			s.o.Log.Warn("removing temporary files", "error", derr)
		}
	}()
	from, to := *o.SourceCtx, *o.DestinationCtx
	from.BigFilesTemporaryDir, to.BigFilesTemporaryDir = dir, dir
	o.SourceCtx, o.DestinationCtx = &from, &to
	if err := errors.Join(s.permit(src, r, &from), s.permit(dest, r, &to)); err != nil {
		return nil, err
	}
	if err := daemonAnswers(ctx, dest, &to); err != nil {
		return nil, err
	}
	if dest, src, err = r.cached(dest, src, &to); err != nil {
		return nil, err
	}
	if r.BlobCache == "" {
		src = s.inPlace(src, o.RemoveSignatures)
	}
	if d, ok := dest.(*blobDest); ok {
		src = d.annotated(src)
	}
	var manifest []byte
	err = s.retry(ctx, r, func() (err error) {
		manifest, err = copy.Image(ctx, pc, dest, src, &o)
		return err
	})
	return manifest, err
}

// cached puts r's cache of blobs between a registry and local storage: what comes is kept, what goes is taken from there as it came.
func (r Registry) cached(dest, src types.ImageReference, to *types.SystemContext) (_, _ types.ImageReference, err error) {
	if r.BlobCache == "" {
		return dest, src, nil
	}
	if err := os.MkdirAll(r.BlobCache, 0o700); err != nil {
		return nil, nil, fmt.Errorf("preparing the cache of blobs: %w", err)
	}
	if dest.Transport().Name() == istorage.Transport.Name() {
		dest, err = blobcache.NewBlobCache(dest, r.BlobCache, types.PreserveOriginal)
		return dest, src, err
	}
	if src.Transport().Name() == istorage.Transport.Name() && !to.OCIAcceptUncompressedLayers {
		src, err = blobcache.NewBlobCache(src, r.BlobCache, types.Compress)
	}
	return dest, src, err
}

// retry calls f until it succeeds, fails for good, or r's attempts are used up. When no delay is given it doubles from two
// seconds on, up to a minute.
func (s *Store) retry(ctx context.Context, r Registry, f func() error) error {
	for k := 1; ; k++ {
		start := s.o.Now()
		err := f()
		// A token that was good a while ago may have expired on the way; the library asks for another only when it starts again.
		expired := unauthorized(err) && s.o.Now().Sub(start) >= tokenLife
		if err == nil || !transient(err) && !expired {
			return err
		}
		r = s.withRetries(r)
		if k > r.Retries {
			return err
		}
		delay := r.RetryDelay
		if delay == 0 {
			delay = min(2*time.Second<<min(k-1, 6), time.Minute)
		}
		s.o.Log.Warn(fmt.Sprintf("Failed, retrying in %s ... (%d/%d). Error: %v", delay, k, r.Retries, err))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tokenLife is after what time a refusal is a token's that expired: credentials that are wrong are refused at once. Tokens should be good for
// a minute, but some are not, or were given out before.
const tokenLife = 5 * time.Second

// unauthorized tells whether a registry refused the credentials or the token.
func unauthorized(err error) bool {
	var refused docker.ErrUnauthorizedForCredentials
	var code errcode.ErrorCoder // an errcode.Error or a bare code
	return errors.As(err, &refused) || errors.As(err, &code) && code.ErrorCode() == errcode.ErrorCodeUnauthorized
}

// transient tells whether trying again can help: the network or the server failed, rather than refused.
func transient(err error) bool {
	var status docker.UnexpectedHTTPStatusError
	var code errcode.ErrorCoder
	var download source.StatusError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errChanged):
		return false
	case errors.As(err, &status):
		return status.StatusCode >= 500 || status.StatusCode == 429
	case errors.As(err, &download):
		return download >= 500 || download == 429
	case errors.As(err, &code):
		return code.ErrorCode() == errcode.ErrorCodeUnavailable || code.ErrorCode() == errcode.ErrorCodeTooManyRequests
	}
	return networkFailed(err)
}

// networkFailed tells whether a connection did not come about or broke. Nearly every error of the standard library counts as a
// net.Error: a full disk, as a system call's, and an untrusted certificate, wrapped with its URL. Neither goes away by itself.
func networkFailed(err error) bool {
	var errno syscall.Errno
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // no TLS there
	var netErr net.Error
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &certificate), errors.As(err, &plain):
		return false
	case errors.As(err, &name):
		return !name.IsNotFound
	case strings.Contains(err.Error(), "Digest did not match"):
		return false // what was read elsewhere while it was sent
	case errors.As(err, &errno):
		return slices.Contains([]syscall.Errno{
			syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
			syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.ENETRESET,
		}, errno)
	}
	return errors.As(err, &netErr) || errors.Is(err, io.ErrUnexpectedEOF)
}

func unknownCompression(format string) error {
	return fmt.Errorf("unknown compression format %q: want gzip, zstd or zstd:chunked", format)
}

// Check refuses a format that there is none of, and a level that the format does not have, before anything is read.
func (c Compression) Check() error {
	format, highest := first(c.Format, "gzip"), 9
	switch format {
	case "gzip":
	case "zstd", "zstd:chunked":
		highest = 20
	default:
		return unknownCompression(format)
	}
	if c.Level != nil && (*c.Level < 1 || *c.Level > highest) {
		return fmt.Errorf("compression level %d: want 1 to %d for %s", *c.Level, highest, format)
	}
	return nil
}

// chosen is the format that every layer is to have, whatever it has: the one that was asked for, with Force the default one. "" leaves layers
// that are compressed as they are.
func (c Compression) chosen() string {
	if c.Force {
		return first(c.Format, "gzip")
	}
	return c.Format
}

// compress puts what c asks for into a destination's context. byDefault is what the operation does when
// nothing is asked: pushes compress, commits to anything but a registry do not (decisions.md §3.12).
func compress(sys *types.SystemContext, c Compression, byDefault bool) error {
	if err := c.Check(); err != nil {
		return err
	}
	format := c.chosen()
	if format != "" {
		alg, err := compression.AlgorithmByName(format)
		if err != nil {
			return unknownCompression(format)
		}
		sys.CompressionFormat, sys.CompressionLevel = &alg, c.Level
	} else if c.Level != nil {
		sys.CompressionLevel = c.Level
	}
	on := (byDefault || c.Enable || format != "") && !c.Disable
	sys.DirForceCompress = on && (c.Enable || format != "")
	sys.OCIAcceptUncompressedLayers = !on
	return nil
}

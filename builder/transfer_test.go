package builder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	refused := errcode.Error{Code: errcode.ErrorCodeUnauthorized}
	for name, tt := range map[string]struct {
		err   error
		takes time.Duration
		calls int
	}{
		"success":                {nil, 0, 1},
		"reset":                  {syscall.ECONNRESET, 0, 4},
		"cut off":                {io.ErrUnexpectedEOF, 0, 4},
		"server error":           {docker.UnexpectedHTTPStatusError{StatusCode: 502}, 0, 4},
		"busy":                   {docker.UnexpectedHTTPStatusError{StatusCode: 429}, 0, 4},
		"not there":              {docker.UnexpectedHTTPStatusError{StatusCode: 404}, 0, 1},
		"wrong content":          {errors.New("Digest did not match"), 0, 1},
		"interrupted":            {context.Canceled, 0, 1},
		"disk full":              {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 0, 1},
		"no permission":          {&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}, 0, 1},
		"connection refused":     {&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}}}, 0, 4},
		"closed by the server":   {&url.Error{Op: "Get", Err: io.EOF}, 0, 4},
		"untrusted":              {&url.Error{Op: "Get", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, 0, 1},
		"plain HTTP":             {&url.Error{Op: "Get", Err: http.ErrSchemeMismatch}, 0, 1},
		"no such host":           {&url.Error{Op: "Get", Err: &net.DNSError{IsNotFound: true}}, 0, 1},
		"name server is silent":  {&url.Error{Op: "Get", Err: &net.DNSError{IsTimeout: true}}, 0, 4},
		"refused at once":        {refused, time.Second, 1},
		"refused after a minute": {refused, time.Minute, 4},
		"bare refusal, late":     {errcode.ErrorCodeUnauthorized, time.Minute, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(0, 0)
			s := &Store{o: StoreOptions{Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}}
			calls := 0
			err := s.retry(context.Background(), Registry{Retries: 3, RetryDelay: time.Nanosecond}, func() error {
				calls++
				now = now.Add(tt.takes)
				return tt.err
			})
			if calls != tt.calls || !errors.Is(err, tt.err) {
				t.Errorf("%d calls, %v, want %d", calls, err, tt.calls)
			}
		})
	}
}

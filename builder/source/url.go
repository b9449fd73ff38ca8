package source

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// URLOptions controls a download.
type URLOptions struct {
	// Checksum, if set, is what the content must have.
	Checksum digest.Digest
	// Client fetches; nil is http.DefaultClient.
	Client *http.Client
}

// IsURL tells whether a source word names something to download.
func IsURL(word string) bool {
	return strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://")
}

// URL is a file downloaded by HTTP, with mode 0600 and the server's Last-Modified time (dockerfile.md §6.9).
// It is streamed: nothing is written anywhere before the copier writes it.
func URL(text string, o URLOptions) (Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing source URL: %w", err)
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." || strings.HasSuffix(u.Path, "/") {
		return nil, fmt.Errorf("source %s names no file", u.Redacted())
	}
	if o.Client == nil {
		o.Client = http.DefaultClient
	}
	return &remote{u: u, name: name, o: o}, nil
}

type remote struct {
	u    *url.URL
	name string
	o    URLOptions
}

func (r *remote) String() string { return r.u.Redacted() }

func (r *remote) Open(ctx context.Context) (Opened, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.u.String(), nil)
	if err != nil {
		return Opened{}, fmt.Errorf("downloading %s: %w", r, err)
	}
	resp, err := r.o.Client.Do(req)
	if err != nil {
		var ue *url.Error // its text repeats the URL, with credentials in the query
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return Opened{}, fmt.Errorf("downloading %s: %w", r, err)
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		return Opened{}, fmt.Errorf("downloading %s: invalid response status %d", r, resp.StatusCode)
	}
	mtime, err := http.ParseTime(resp.Header.Get("Last-Modified"))
	if err != nil {
		mtime = time.Unix(0, 0)
	}
	body := io.Reader(resp.Body)
	if r.o.Checksum != "" {
		if body, err = verified(resp.Body, r.o.Checksum); err != nil {
			resp.Body.Close()
			return Opened{}, fmt.Errorf("downloading %s: %w", r, err)
		}
	}
	return Opened{Name: r.name, Mode: 0o600, Mtime: mtime, Body: body, Close: resp.Body.Close}, nil
}

// verified returns a reader that fails at the end when the content is not what want says.
func verified(body io.Reader, want digest.Digest) (io.Reader, error) {
	if err := want.Validate(); err != nil {
		return nil, fmt.Errorf("checksum %q: %w", want, err)
	}
	h := want.Algorithm().Hash()
	return &checked{r: io.TeeReader(body, h), h: h, want: want}, nil
}

type checked struct {
	r    io.Reader
	h    hash.Hash
	want digest.Digest
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if errors.Is(err, io.EOF) {
		if got := digest.NewDigest(c.want.Algorithm(), c.h); got != c.want {
			return n, fmt.Errorf("digest mismatch %s: %s", got, c.want)
		}
	}
	return n, err
}

// ParseURL is URL with the checksum as text, empty for none.
func ParseURL(text, checksum string) (Source, error) {
	o := URLOptions{Checksum: digest.Digest(checksum)}
	return URL(text, o)
}

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
	// Known, if not nil, is what was fetched before: opening is [ErrUnchanged] if the server has that still.
	Known *Known
	// Authorization, if set, is the header of that name. A server of another name that the answer leads to does not get it.
	Authorization string
	// Client fetches; nil is one like http.DefaultClient, but for Redirect.
	Client *http.Client
	// Retry calls a function until it succeeds or there is no sense in it; nil calls it once.
	Retry func(context.Context, func() error) error
}

// Known is a file that was fetched, with what the server calls its state: an entity tag, or a time (RFC 9110 §8.8).
type Known struct {
	ETag, Modified string
	Sum            digest.Digest
}

// ErrUnchanged says that a server has the file that is known.
var ErrUnchanged = errors.New("unchanged")

// settled is how old a file must be for its time to tell it from a later one: times have seconds.
const settled = time.Minute

// validators are what the answer says of the file's state, as far as it tells every change.
func validators(h http.Header) Known {
	var k Known
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) { // else weak: another file may have it
		k.ETag = tag
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if now, nerr := http.ParseTime(h.Get("Date")); err == nil && nerr == nil && now.Sub(modified) >= settled {
		k.Modified = h.Get("Last-Modified")
	}
	return k
}

// condition makes a request one for a file that is not the known one.
func (k *Known) condition(h http.Header) {
	switch {
	case k == nil:
	case k.ETag != "":
		h.Set("If-None-Match", k.ETag)
	case k.Modified != "":
		h.Set("If-Modified-Since", k.Modified)
	}
}

// Redirect is what a client does about a redirection: it follows ten, and tells no server of the URL that led there. Its query may be a
// credential (see String), and the header Referer would give it to whoever the first server names.
func Redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	req.Header.Del("Referer")
	return nil
}

// A StatusError is a server's refusal: the HTTP status.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("invalid response status %d", int(e)) }

// IsURL tells whether a source word names something to download.
func IsURL(word string) bool {
	return strings.HasPrefix(word, "http://") || strings.HasPrefix(word, "https://")
}

// URL is a file downloaded by HTTP, with mode 0600 and the server's Last-Modified time (dockerfile.md §6.9).
// It is streamed: nothing is written anywhere before the copier writes it.
func URL(text string, o URLOptions) (Source, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("a source is no valid URL") // its text may hold a password
	}
	r := &remote{u: u, name: Name(text)}
	if u.Host == "" {
		return nil, fmt.Errorf("source %s names no host", r)
	}
	if o.Checksum != "" {
		if err := o.Checksum.Validate(); err != nil {
			return nil, fmt.Errorf("checksum %q: %w", o.Checksum, err)
		}
	}
	if o.Client == nil {
		o.Client = &http.Client{CheckRedirect: Redirect}
	}
	if o.Retry == nil {
		o.Retry = func(_ context.Context, f func() error) error { return f() }
	}
	r.o = o
	return r, nil
}

// Name is the name that a download gets in a directory: the last component of the URL's path, as BuildKit has it.
func Name(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return unnamed
	}
	name := path.Base(u.Path)
	if name == "/" || name == "." || name == ".." {
		return unnamed
	}
	return name
}

// unnamed is the name of a download whose URL has none (dockerfile.md §6.9).
const unnamed = "__unnamed__"

type remote struct {
	u    *url.URL
	name string
	o    URLOptions
}

// String leaves out what may be a credential: the user part and the query (CVE-2023-26054).
func (r *remote) String() string {
	u := *r.u
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Open begins the download. Only that is tried again: what has been written of a stream cannot be taken back.
func (r *remote) Open(ctx context.Context) (Opened, error) {
	var resp *http.Response
	err := r.o.Retry(ctx, func() (err error) {
		resp, err = r.get(ctx)
		return err
	})
	if err != nil {
		return Opened{}, fmt.Errorf("downloading %s: %w", r, err)
	}
	mtime, err := http.ParseTime(resp.Header.Get("Last-Modified"))
	if err != nil {
		mtime = time.Unix(0, 0)
	}
	body := io.Reader(&whole{r: resp.Body, left: resp.ContentLength})
	if r.o.Checksum != "" {
		body = verified(body, r.o.Checksum)
	}
	return Opened{Name: r.name, Mode: 0o600, Mtime: mtime, Body: body, Known: validators(resp.Header), Close: resp.Body.Close}, nil
}

func (r *remote) get(ctx context.Context) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity") // the checksum is of the file, not of what a server packs it into
	if r.o.Authorization != "" {
		req.Header.Set("Authorization", r.o.Authorization)
	}
	r.o.Known.condition(req.Header)
	resp, err := r.o.Client.Do(req)
	if err != nil {
		var ue *url.Error // its text repeats the URL, with credentials in the query
		if errors.As(err, &ue) {
			err = transportError{ue.Err, ue.Timeout()}
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusNotModified && r.o.Known != nil {
		resp.Body.Close()
		return nil, ErrUnchanged
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		return nil, StatusError(resp.StatusCode)
	}
	return resp, nil
}

// transportError is a net.Error: the server was not reached, or not believed.
type transportError struct {
	error
	timeout bool
}

func (e transportError) Unwrap() error   { return e.error }
func (e transportError) Timeout() bool   { return e.timeout }
func (e transportError) Temporary() bool { return true }

// whole makes a download that ends before the announced length an error, by whatever version of the protocol it comes.
type whole struct {
	r    io.Reader
	left int64 // negative: not announced
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if w.left >= 0 {
		w.left -= int64(n)
		if errors.Is(err, io.EOF) && w.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// verified returns a reader that fails at the end when the content is not what want, a valid digest, says.
func verified(body io.Reader, want digest.Digest) io.Reader {
	h := want.Algorithm().Hash()
	return &checked{r: io.TeeReader(body, h), h: h, want: want}
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

package regtest

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Fault is a way for the registry to misbehave.
type Fault string

// The faults. Each answers a request wrongly and leaves the registry's content as it was.
const (
	ServerError  Fault = "500"      // an internal error
	Busy         Fault = "429"      // too many requests, with Retry-After: 1
	Reset        Fault = "reset"    // the connection is reset without an answer
	Truncate     Fault = "truncate" // half of the body, then the connection ends
	WrongContent Fault = "digest"   // one byte of the body is another
	Unauthorized Fault = "401"      // as if the credentials were not, or no longer, good
	Slow         Fault = "slow"     // the body comes in pieces, over half a second
	Endless      Fault = "endless"  // the body goes on with zeros, up to a gigabyte
	Expired      Fault = "expired"  // the request takes seconds, and then no token that was given is good any more
	Redirect     Fault = "redirect" // to the same path of another host, where everybody is let in
)

// injected is a fault and how often it is still to happen.
type injected struct {
	fault        Fault
	method, path string
	left         int
}

// Inject makes the next n requests of a method whose path contains text go wrong.
func (r *Registry) Inject(f Fault, method, text string, n int) error {
	switch f {
	case ServerError, Busy, Reset, Truncate, WrongContent, Unauthorized, Slow, Endless, Expired, Redirect:
	default:
		return fmt.Errorf("no fault %q", f)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, &injected{f, method, text, n})
	return nil
}

// next returns the fault that is due for a request, "" if none.
func (r *Registry) next(req *http.Request) Fault {
	for _, i := range r.faults {
		if i.left > 0 && i.method == req.Method && strings.Contains(req.URL.Path, i.path) {
			i.left--
			return i.fault
		}
	}
	return ""
}

// misbehave answers a request for a fault. It returns a writer to go on with, nil if the answer has been given.
func misbehave(w http.ResponseWriter, req *http.Request, f Fault) http.ResponseWriter {
	switch f {
	case Redirect:
		to := *req.URL
		_, port, _ := strings.Cut(req.Host, ":")
		to.Scheme, to.Host = "http", elsewhere+port
		if req.TLS != nil {
			to.Scheme = "https"
		}
		http.Redirect(w, req, to.String(), http.StatusTemporaryRedirect)
		return nil
	case ServerError:
		fail(w, http.StatusInternalServerError, "UNKNOWN", "something went wrong")
	case Busy:
		w.Header().Set("Retry-After", "1")
		fail(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests")
	case Unauthorized:
		w.Header().Set("WWW-Authenticate", `Basic realm="regtest"`)
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case Reset:
		reset(w)
	case Truncate, WrongContent, Slow, Endless:
		return &badBody{w, f}
	default:
		return w
	}
	return nil
}

// reset ends the connection in the rudest way.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the stream is reset
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closing sends RST then
	}
	conn.Close()
}

// A badBody damages what is written through it.
type badBody struct {
	http.ResponseWriter
	fault Fault
}

// Write damages the body.
func (b *badBody) Write(body []byte) (int, error) {
	if b.fault == Truncate {
		_, _ = b.ResponseWriter.Write(body[:len(body)/2])
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	switch b.fault {
	case Slow:
		return b.dribble(body)
	case Endless:
		return b.goOn(body)
	}
	damaged := append([]byte(nil), body...)
	if len(damaged) > 0 {
		damaged[len(damaged)/2] ^= 0xff
	}
	return b.ResponseWriter.Write(damaged)
}

// elsewhere begins the host that requests are redirected to: this one under a name that clients must take for another's.
const elsewhere = "localhost:"

// WriteHeader announces a body without an end.
func (b *badBody) WriteHeader(status int) {
	if b.fault == Endless {
		b.Header().Del("Content-Length")
	}
	b.ResponseWriter.WriteHeader(status)
}

// goOn writes the body, and zeros until the client has enough.
func (b *badBody) goOn(body []byte) (int, error) {
	b.Header().Del("Content-Length")
	n, err := b.ResponseWriter.Write(body)
	zeros := make([]byte, 1<<20)
	for i := 0; err == nil && i < 1<<10; i++ {
		_, err = b.ResponseWriter.Write(zeros)
	}
	return n, err
}

// dribble writes the body in ten pieces with pauses between them.
func (b *badBody) dribble(body []byte) (n int, err error) {
	piece := len(body)/10 + 1
	for part := range slices.Chunk(body, piece) {
		time.Sleep(50 * time.Millisecond)
		m, err := b.ResponseWriter.Write(part)
		n += m
		if err != nil {
			return n, err
		}
		_ = http.NewResponseController(b.ResponseWriter).Flush()
	}
	return n, nil
}

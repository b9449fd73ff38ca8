// Package regtest is an image registry inside the test's own process: the parts
// of the OCI distribution protocol that clients use, on a loopback port, over
// HTTP or TLS, with or without a password. It counts what it is asked, so that a
// test can say "the second push uploads nothing".
//
// It keeps everything in memory and is for tests only. Start reading at Start;
// manifests are in manifests.go, blobs and uploads in blobs.go.
package regtest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// Options say what kind of registry to start; the zero value is one that speaks
// plain HTTP and lets everybody in.
type Options struct {
	User, Password string // basic authentication when User is not empty
	TLS            bool   // HTTPS with a certificate of its own, see Registry.CA
	NoMount        bool   // answer cross-repository mounts with a fresh upload
	Tokens         bool   // who comes in needs a token, which is given to those whom User and Password let in
}

// A Registry is a running registry. Its methods may be called while it serves.
type Registry struct {
	options Options
	server  *httptest.Server

	mu    sync.Mutex
	repos map[string]*repository
	loads map[string]*upload
	stats Stats

	faults []*injected
	tokens map[string]bool // those that are good
}

// A repository holds what one name has.
type repository struct {
	blobs     map[string][]byte   // by digest
	manifests map[string]manifest // by digest
	tags      map[string]string   // tag -> digest
}

type manifest struct {
	mediaType string
	body      []byte
}

// Stats counts requests and the bytes of bodies. Blob and manifest counters are
// those of successful operations.
type Stats struct {
	Requests        int   `json:"requests"`
	BlobUploads     int   `json:"blobUploads"`
	BlobMounts      int   `json:"blobMounts"`
	BlobDownloads   int   `json:"blobDownloads"`
	ManifestPuts    int   `json:"manifestPuts"`
	ManifestGets    int   `json:"manifestGets"`
	BytesReceived   int64 `json:"bytesReceived"`
	BytesSent       int64 `json:"bytesSent"`
	Tokens          int   `json:"tokens"`
	Unauthenticated int   `json:"unauthenticated"`
	Redirected      int   `json:"redirected"` // requests that came here as to another host
	Leaked          int   `json:"leaked"`     // those of them that had credentials
}

// Start runs a registry on a free loopback port. The caller calls Close.
func Start(o Options) *Registry {
	r := &Registry{options: o, repos: map[string]*repository{}, loads: map[string]*upload{}}
	if o.TLS {
		r.server = httptest.NewTLSServer(http.HandlerFunc(r.serve))
	} else {
		r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	}
	return r
}

// Close stops the registry and drops its content.
func (r *Registry) Close() { r.server.Close() }

// Host returns the registry's "127.0.0.1:PORT", the first part of image names.
func (r *Registry) Host() string {
	_, host, _ := strings.Cut(r.server.URL, "://")
	return host
}

// CA returns the certificate that a client of a TLS registry must trust, as PEM;
// nil without TLS.
func (r *Registry) CA() []byte {
	if !r.options.TLS {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
}

// Stats returns the counters, and sets them to zero if reset is true.
func (r *Registry) Stats(reset bool) Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	if reset {
		r.stats = Stats{}
	}
	return s
}

// Tags returns the digests of a repository's tags.
func (r *Registry) Tags(repo string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tags := map[string]string{}
	if rp := r.repos[repo]; rp != nil {
		for tag, digest := range rp.tags {
			tags[tag] = digest
		}
	}
	return tags
}

// Put stores a manifest under a tag and the blobs with it, none of which has to make sense, and returns the manifest's digest.
func (r *Registry) Put(repo, tag, mediaType string, body []byte, blobs ...[]byte) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	rp, d := r.repo(repo, true), digestOf(body)
	for _, b := range blobs {
		rp.blobs[digestOf(b)] = b
	}
	rp.manifests[d], rp.tags[tag] = manifest{mediaType, body}, d
	return d
}

// Corrupt changes one byte of a stored blob, so that a test can see a client
// refuse it. It reports whether the blob was there.
func (r *Registry) Corrupt(repo, digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	rp := r.repos[repo]
	if rp == nil || len(rp.blobs[digest]) == 0 {
		return false
	}
	damaged := append([]byte(nil), rp.blobs[digest]...)
	damaged[len(damaged)/2] ^= 0xff
	rp.blobs[digest] = damaged
	return true
}

// serve authenticates a request and hands it to the part of the protocol that
// its path names.
func (r *Registry) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Requests++
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	moved := strings.HasPrefix(req.Host, elsewhere)
	if f := r.next(req); f == Expired {
		r.expire()
	} else if f != "" && !moved {
		if w = misbehave(w, req, f); w == nil {
			return
		}
	}
	if moved {
		r.stats.Redirected++
		if req.Header.Get("Authorization") != "" {
			r.stats.Leaked++
		}
	} else if !r.allowed(req) {
		r.refuse(w, req)
		return
	}
	rest, ok := strings.CutPrefix(req.URL.Path, "/v2/")
	switch {
	case r.options.Tokens && req.URL.Path == tokenPath:
		r.serveToken(w)
	case !ok:
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", "no such path")
	case rest == "":
		w.WriteHeader(http.StatusOK)
	default:
		r.route(w, req, rest)
	}
}

// route splits "NAME/blobs/DIGEST" and the like; NAME itself may have slashes.
func (r *Registry) route(w http.ResponseWriter, req *http.Request, rest string) {
	if repo, found := strings.CutSuffix(rest, "/tags/list"); found {
		r.serveTags(w, repo)
		return
	}
	for _, kind := range []string{"/blobs/uploads/", "/blobs/", "/manifests/"} {
		i := strings.LastIndex(rest, kind)
		if i < 1 {
			continue
		}
		repo, ref := rest[:i], rest[i+len(kind):]
		switch kind {
		case "/blobs/uploads/":
			r.serveUpload(w, req, repo, ref)
		case "/blobs/":
			r.serveBlob(w, req, repo, ref)
		default:
			r.serveManifest(w, req, repo, ref)
		}
		return
	}
	fail(w, http.StatusNotFound, "NAME_UNKNOWN", "no such path")
}

func (r *Registry) allowed(req *http.Request) bool {
	if r.options.Tokens && req.URL.Path != tokenPath {
		token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		return ok && r.tokens[token]
	}
	if r.options.User == "" {
		return true
	}
	user, password, ok := req.BasicAuth()
	return ok && user == r.options.User && password == r.options.Password
}

// repo returns a repository, making it when asked to.
func (r *Registry) repo(name string, create bool) *repository {
	rp := r.repos[name]
	if rp == nil && create {
		rp = &repository{blobs: map[string][]byte{}, manifests: map[string]manifest{}, tags: map[string]string{}}
		r.repos[name] = rp
	}
	return rp
}

// digestOf returns the digest of content as the protocol writes it.
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// fail answers with the protocol's error document.
func fail(w http.ResponseWriter, status int, code, message string) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client is gone when this fails; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string][]entry{"errors": {{code, message}}})
}

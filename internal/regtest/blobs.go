package regtest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// An upload is a blob on its way in.
type upload struct {
	repo string
	body []byte
}

// serveBlob answers HEAD, GET and DELETE of a finished blob.
func (r *Registry) serveBlob(w http.ResponseWriter, req *http.Request, repo, digest string) {
	rp := r.repo(repo, false)
	var body []byte
	found := false
	if rp != nil {
		body, found = rp.blobs[digest]
	}
	if !found {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")
		return
	}
	switch req.Method {
	case http.MethodHead, http.MethodGet:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Header().Set("Docker-Content-Digest", digest)
		if req.Method == http.MethodGet {
			r.stats.BlobDownloads++
			r.send(w, body)
		}
	case http.MethodDelete:
		delete(rp.blobs, digest)
		w.WriteHeader(http.StatusAccepted)
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed")
	}
}

// serveUpload answers the steps of an upload: POST starts one (or mounts, or
// takes the whole blob), PATCH adds a chunk, PUT ends it, GET asks how far it is.
func (r *Registry) serveUpload(w http.ResponseWriter, req *http.Request, repo, id string) {
	if req.Method == http.MethodPost {
		r.startUpload(w, req, repo)
		return
	}
	u := r.loads[id]
	if u == nil || u.repo != repo {
		fail(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
		return
	}
	switch req.Method {
	case http.MethodPatch:
		if r.receive(w, req, u) {
			r.progress(w, repo, id, http.StatusAccepted)
		}
	case http.MethodPut:
		if r.receive(w, req, u) {
			delete(r.loads, id)
			r.finish(w, repo, req.URL.Query().Get("digest"), u.body)
		}
	case http.MethodGet:
		r.progress(w, repo, id, http.StatusNoContent)
	case http.MethodDelete:
		delete(r.loads, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed")
	}
}

func (r *Registry) startUpload(w http.ResponseWriter, req *http.Request, repo string) {
	query := req.URL.Query()
	if digest := query.Get("mount"); digest != "" && !r.options.NoMount {
		if from := r.repo(query.Get("from"), false); from != nil && from.blobs[digest] != nil {
			r.repo(repo, true).blobs[digest] = from.blobs[digest]
			r.stats.BlobMounts++
			created(w, repo, "blobs", digest)
			return
		}
	}
	u := &upload{repo: repo}
	if digest := query.Get("digest"); digest != "" { // the whole blob at once
		if r.receive(w, req, u) {
			r.finish(w, repo, digest, u.body)
		}
		return
	}
	id := fmt.Sprintf("upload-%d", r.stats.Requests)
	r.loads[id] = u
	r.progress(w, repo, id, http.StatusAccepted)
}

// receive appends a request's body to an upload. A chunk that does not begin
// where the last one ended is refused, as the protocol says.
func (r *Registry) receive(w http.ResponseWriter, req *http.Request, u *upload) bool {
	if chunk := req.Header.Get("Content-Range"); chunk != "" {
		var first, last int
		if _, err := fmt.Sscanf(chunk, "%d-%d", &first, &last); err != nil || first != len(u.body) {
			fail(w, http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", "chunk out of order")
			return false
		}
	}
	var body []byte
	var err error
	r.unlocked(func() { body, err = io.ReadAll(req.Body) })
	r.stats.BytesReceived += int64(len(body))
	if err != nil {
		fail(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", err.Error())
		return false
	}
	u.body = append(u.body, body...)
	return true
}

// finish stores a blob whose content has the digest that the client claims.
func (r *Registry) finish(w http.ResponseWriter, repo, digest string, body []byte) {
	if actual := digestOf(body); digest != actual {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "content has digest "+actual)
		return
	}
	r.repo(repo, true).blobs[digest] = body
	r.stats.BlobUploads++
	created(w, repo, "blobs", digest)
}

// progress tells the client where to go on and how much has arrived.
func (r *Registry) progress(w http.ResponseWriter, repo, id string, status int) {
	w.Header().Set("Location", "/v2/"+repo+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(r.loads[id].body)-1)))
	w.WriteHeader(status)
}

// created answers that something is stored now.
func created(w http.ResponseWriter, repo, kind, digest string) {
	w.Header().Set("Location", "/v2/"+repo+"/"+kind+"/"+digest)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}

// send writes a body and counts it.
func (r *Registry) send(w http.ResponseWriter, body []byte) {
	var n int
	r.unlocked(func() { n, _ = w.Write(body) }) // a client that goes away is its own affair
	r.stats.BytesSent += int64(n)
}

// unlocked lets others be served while f waits for a client, which may be copying from here to here.
func (r *Registry) unlocked(f func()) {
	r.mu.Unlock()
	defer r.mu.Lock()
	f()
}

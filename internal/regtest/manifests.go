package regtest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxManifest bounds a manifest, as real registries do.
const maxManifest = 4 << 20

// serveManifest answers HEAD, GET, PUT and DELETE of a manifest, by tag or digest.
func (r *Registry) serveManifest(w http.ResponseWriter, req *http.Request, repo, ref string) {
	if req.Method == http.MethodPut {
		r.putManifest(w, req, repo, ref)
		return
	}
	rp := r.repo(repo, false)
	if rp == nil {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	digest := ref
	if d, ok := rp.tags[ref]; ok {
		digest = d
	}
	m, ok := rp.manifests[digest]
	if !ok {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
		return
	}
	switch req.Method {
	case http.MethodHead, http.MethodGet:
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Content-Length", strconv.Itoa(len(m.body)))
		w.Header().Set("Docker-Content-Digest", digest)
		if req.Method == http.MethodGet {
			r.stats.ManifestGets++
			r.send(w, m.body)
		}
	case http.MethodDelete:
		delete(rp.manifests, digest)
		maps.DeleteFunc(rp.tags, func(_, d string) bool { return d == digest })
		w.WriteHeader(http.StatusAccepted)
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed")
	}
}

// putManifest stores a manifest whose blobs and members are all there: a client
// that pushes in the wrong order must notice.
func (r *Registry) putManifest(w http.ResponseWriter, req *http.Request, repo, ref string) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	r.stats.BytesReceived += int64(len(body))
	if err != nil || len(body) > maxManifest {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID", "unreadable or too large")
		return
	}
	digest := digestOf(body)
	if strings.HasPrefix(ref, "sha256:") && ref != digest {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "content has digest "+digest)
		return
	}
	rp := r.repo(repo, true)
	if missing, err := rp.missing(body); err != nil {
		fail(w, http.StatusBadRequest, "MANIFEST_INVALID", err.Error())
		return
	} else if missing != "" {
		fail(w, http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "unknown to registry: "+missing)
		return
	}
	rp.manifests[digest] = manifest{mediaType: req.Header.Get("Content-Type"), body: body}
	if ref != digest {
		rp.tags[ref] = digest
	}
	r.stats.ManifestPuts++
	created(w, repo, "manifests", digest)
}

// missing returns a digest that a manifest or index names and the repository
// does not have.
func (rp *repository) missing(body []byte) (string, error) {
	type descriptor struct {
		Digest string   `json:"digest"`
		URLs   []string `json:"urls"`
	}
	var m struct {
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return "", err
	}
	for _, d := range append(m.Layers, m.Config) {
		if d.Digest != "" && len(d.URLs) == 0 && rp.blobs[d.Digest] == nil {
			return d.Digest, nil
		}
	}
	for _, d := range m.Manifests {
		if _, ok := rp.manifests[d.Digest]; !ok {
			return d.Digest, nil
		}
	}
	return "", nil
}

// serveTags lists a repository's tags in order, on one page.
func (r *Registry) serveTags(w http.ResponseWriter, repo string) {
	rp := r.repo(repo, false)
	if rp == nil {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")
		return
	}
	body, err := json.Marshal(map[string]any{"name": repo, "tags": slices.Sorted(maps.Keys(rp.tags))})
	if err != nil {
		fail(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	r.send(w, body)
}

package regtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// tokenPath is where tokens are to be had.
const tokenPath = "/token"

// refuse answers who may not come in.
func (r *Registry) refuse(w http.ResponseWriter, req *http.Request) {
	r.stats.Unauthenticated++
	challenge := `Basic realm="regtest"`
	if r.options.Tokens && req.URL.Path != tokenPath {
		challenge = fmt.Sprintf(`Bearer realm=%q,service="regtest"`, r.server.URL+tokenPath)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
}

// serveToken gives a token, which is said to be good for minutes.
func (r *Registry) serveToken(w http.ResponseWriter) {
	if r.tokens == nil {
		r.tokens = map[string]bool{}
	}
	token := fmt.Sprintf("token-%d", r.stats.Requests)
	r.tokens[token] = true
	r.stats.Tokens++
	w.Header().Set("Content-Type", "application/json")
	// The client is gone when this fails; there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300, "issued_at": time.Now().UTC()})
}

// expiry is how long a transfer takes at least in which tokens expire: clients may take what is refused sooner for wrong credentials.
const expiry = 6 * time.Second

// expire makes all tokens bad, after a while.
func (r *Registry) expire() {
	r.unlocked(func() { time.Sleep(expiry) })
	clear(r.tokens)
}

package imagebuildah

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-build/slipway/copier"
	"github.com/slipway-build/slipway/imagebuildah/cache"
)

// explain says whether a step was found, and of one that was not which input is another than it was (--explain-cache).
func (st *stage) explain(s *step) {
	if !st.b.o.ExplainCache {
		return
	}
	text := ""
	if s.layer != nil {
		text = fmt.Sprintf("cache hit %s, made %s", s.key[:12], st.b.s.StepMade(s.key, s.layer).UTC().Format(time.RFC3339))
	} else {
		text = "cache miss " + st.reason(s)
	}
	st.printf("--> %s\n", text)
	st.event(Event{Kind: "explain", Step: s.number, Steps: len(st.def.Commands) + 1, Text: text})
}

func (st *stage) reason(s *step) string {
	switch {
	case s.in == nil:
		return "its result can not be known beforehand"
	case st.b.o.NoCache:
		return s.key[:12] + ": --no-cache"
	case st.filtered():
		return s.key[:12] + ": --no-cache-filter names this stage"
	}
	if l, err := st.b.s.Layer(s.key); err == nil && st.expired(s.key, l) {
		return s.key[:12] + ": older than --cache-ttl"
	}
	if st.executed != "" && !s.alone {
		return fmt.Sprintf("%s: stands on %q, which was executed", s.key[:12], st.executed)
	}
	return s.key[:12] + ": " + cache.Explain(*s.in, st.b.notes, st.difference)
}

// remember reads what decided the results that are there, for --explain-cache: once and before anything is built, so that what is
// said does not depend on which stage is quicker.
func (j *job) remember() {
	if !j.o.ExplainCache {
		return
	}
	for _, blob := range j.s.StepNotes() {
		var in cache.Input
		if json.Unmarshal(blob, &in) == nil {
			j.notes = append(j.notes, in)
		}
	}
}

// maxListings bounds the memory for listings, in bytes: steps after those that fill it have none.
const maxListings = 16 << 20

// keepListing keeps the listing of some content for the notes of the steps that it is of.
func (j *job) keepListing(content, listing string) {
	if listing == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.listed += len(listing); j.listed <= maxListings {
		j.listings[content] = listing
	}
}

func (j *job) listing(content string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.listings[content]
}

// noteListings keeps the listings of a step's content beside its note.
func (st *stage) noteListings(s *step) error {
	var errs []error
	for n, content := range s.in.Content {
		if listing := st.b.listing(content); listing != "" {
			errs = append(errs, st.b.s.NoteListing(s.key, n, listing))
		}
	}
	return errors.Join(errs...)
}

// difference names the path in which the nth content of a step differs from what a step before it had, empty where that is not known.
func (st *stage) difference(was, is cache.Input, n int) string {
	before, now := st.b.s.StepListing(was.Key(), n), st.b.listing(is.Content[n])
	if before == "" || now == "" {
		return ""
	}
	return copier.Difference(before, now)
}

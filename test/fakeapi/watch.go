package fakeapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// watch streams the changes since the version that the client names, or all objects and then the changes
// (KEP-3157).
func (s *Server) watch(w http.ResponseWriter, r *http.Request, from selection) {
	query := r.URL.Query()
	version, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	timeout := time.NewTimer(time.Duration(max(seconds, 1)) * time.Second)
	defer timeout.Stop()
	w.Header().Set("Content-Type", "application/json")
	flush(w)
	if query.Get("sendInitialEvents") == "true" {
		version = s.initial(w, from)
	}
	for {
		more, err := s.deliver(w, &version, from)
		if err != nil {
			return
		}
		select {
		case <-more:
		case <-end:
			return
		case <-timeout.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// deliver sends the changes since version, unless watches are to show nothing.
func (s *Server) deliver(w http.ResponseWriter, version *uint64, from selection) (more <-chan struct{}, err error) {
	found, upTo, more, err := s.store.since(*version, from)
	if gone, ok := err.(failure); ok {
		_ = json.NewEncoder(w).Encode(object{"type": "ERROR", "object": gone.status()})
		return nil, err
	}
	if s.isBlind() {
		return more, nil
	}
	for _, c := range found {
		_ = json.NewEncoder(w).Encode(object{"type": c.kind, "object": c.text}) // a lost client ends the context
	}
	flush(w)
	*version = upTo
	return more, nil
}

// initial sends all objects and the bookmark that ends them, and returns the version of the list.
func (s *Server) initial(w http.ResponseWriter, from selection) uint64 {
	items, version := s.store.list(from)
	for _, o := range items {
		_ = json.NewEncoder(w).Encode(object{"type": "ADDED", "object": o})
	}
	_ = json.NewEncoder(w).Encode(object{"type": "BOOKMARK", "object": object{
		"kind": from.kind.kind, "apiVersion": from.apiVersion, "metadata": object{
			"resourceVersion": strconv.FormatUint(version, 10), "annotations": object{"k8s.io/initial-events-end": "true"},
		},
	}})
	return version
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

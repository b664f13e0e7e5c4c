package fakeapi

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// lease serves get, list, watch, create, update and delete of Leases.
func (s *Server) lease(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	name := strings.TrimPrefix(query.Get("fieldSelector"), "metadata.name=")
	switch {
	case r.Method == http.MethodGet && query.Get("watch") != "":
		s.watch(w, r, name)
		return
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/leases"):
		items, version := s.store.list(r.URL.Path, name)
		answer(w, http.StatusOK, leaseList(items, version))
		return
	}
	l, err := s.one(r)
	switch {
	case err != nil:
		refuse(w, err)
	case r.Method == http.MethodPost:
		answer(w, http.StatusCreated, l)
	default:
		answer(w, http.StatusOK, l)
	}
}

// one does what is asked of a single object.
func (s *Server) one(r *http.Request) (object, error) {
	switch r.Method {
	case http.MethodGet:
		return s.store.get(r.URL.Path)
	case http.MethodDelete:
		return s.store.remove(r.URL.Path)
	case http.MethodPost, http.MethodPut:
	default:
		return nil, failure{http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method + " is not supported"}
	}
	var l object
	if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
		return nil, failure{http.StatusBadRequest, "BadRequest", err.Error()}
	}
	if r.Method == http.MethodPut {
		return s.store.update(r.URL.Path, l)
	}
	return s.store.create(fmt.Sprintf("%s/%v", r.URL.Path, metadata(l)["name"]), l)
}

func leaseList(items []object, version uint64) object {
	if items == nil {
		items = []object{}
	}
	return object{
		"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "items": items,
		"metadata": object{"resourceVersion": strconv.FormatUint(version, 10)},
	}
}

// watch streams the changes since the version that the client names.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, name string) {
	version, _ := strconv.ParseUint(r.URL.Query().Get("resourceVersion"), 10, 64)
	seconds, _ := strconv.Atoi(r.URL.Query().Get("timeoutSeconds"))
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	timeout := time.NewTimer(time.Duration(max(seconds, 1)) * time.Second)
	defer timeout.Stop()
	w.Header().Set("Content-Type", "application/json")
	flush(w)
	for {
		found, upTo, more, err := s.store.since(version, r.URL.Path, name)
		if gone, ok := err.(failure); ok {
			_ = json.NewEncoder(w).Encode(object{"type": "ERROR", "object": gone.status()})
			return
		}
		for _, c := range found {
			_ = json.NewEncoder(w).Encode(object{"type": c.kind, "object": c.text}) // a lost client ends the context
		}
		flush(w)
		version = upTo
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

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// endpointSlice names the API servers the way they do it themselves.
func (s *Store) endpointSlice() object {
	s.mu.Lock()
	defer s.mu.Unlock()
	endpoints, port := []object{}, 0
	for _, host := range s.peers {
		if address, text, err := net.SplitHostPort(host); err == nil {
			endpoints = append(endpoints, object{"addresses": []string{address}})
			port, _ = strconv.Atoi(text)
		}
	}
	return object{
		"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
		"metadata":  object{"name": "kubernetes", "namespace": "default", "resourceVersion": strconv.FormatUint(s.revision, 10)},
		"endpoints": endpoints, "ports": []object{{"name": "https", "port": port, "protocol": "TCP"}},
	}
}

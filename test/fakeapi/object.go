package fakeapi

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// object serves get, list, watch, create, update and delete of any kind, and writes of its status.
func (s *Server) object(w http.ResponseWriter, r *http.Request, at place) {
	query := r.URL.Query()
	from := selection{at, query.Get("fieldSelector"), query.Get("labelSelector")}
	switch {
	case r.Method == http.MethodGet && query.Get("watch") != "":
		s.watch(w, r, from)
		return
	case r.Method == http.MethodGet && at.name == "":
		items, version := s.store.list(from)
		answer(w, http.StatusOK, object{
			"kind": at.kind.kind + "List", "apiVersion": at.apiVersion, "items": items, "metadata": object{"resourceVersion": strconv.FormatUint(version, 10)},
		})
		return
	}
	l, err := s.one(r, at)
	switch {
	case err != nil:
		refuse(w, err)
	case r.Method == http.MethodPost:
		answer(w, http.StatusCreated, l)
	default:
		answer(w, http.StatusOK, l)
	}
}

// merges is whether a request is a JSON merge patch.
func merges(r *http.Request) bool {
	return r.Header.Get("Content-Type") == "application/merge-patch+json"
}

// one does what is asked of a single object.
func (s *Server) one(r *http.Request, at place) (object, error) {
	switch {
	case r.Method == http.MethodGet:
		return s.store.get(r.URL.Path)
	case r.Method == http.MethodDelete:
		return s.store.remove(r.URL.Path)
	case r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch && (at.sub == "status" || merges(r)):
	default:
		return nil, failure{http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method + " is not supported"}
	}
	var l object
	if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
		return nil, failure{http.StatusBadRequest, "BadRequest", err.Error()}
	}
	manager := r.URL.Query().Get("fieldManager")
	switch whole := strings.TrimSuffix(r.URL.Path, "/status"); {
	case r.Method == http.MethodPatch && merges(r):
		return s.store.mergeMetadata(whole, l)
	case r.Method == http.MethodPatch:
		return s.store.patchStatus(whole, manager, r.URL.Query().Get("force") == "true", l)
	case at.sub == "status":
		return s.store.putStatus(whole, manager, l)
	case r.Method == http.MethodPut:
		return s.store.update(r.URL.Path, l)
	}
	return s.store.create(fmt.Sprintf("%s/%v", r.URL.Path, metadata(l)["name"]), l)
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

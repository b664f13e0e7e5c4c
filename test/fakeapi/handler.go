package fakeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// apiError is an error that the API server returns as a Status object.
type apiError struct {
	code    int
	reason  string
	message string
}

func (e apiError) Error() string { return e.message }

func notFound(path string) apiError {
	return apiError{http.StatusNotFound, "NotFound", path + " not found"}
}

func (e apiError) status() object {
	o := object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": e.message,
		"reason": e.reason, "code": e.code}
	if strings.HasPrefix(e.message, "Apply failed") {
		o["details"] = object{"causes": []object{{"reason": "FieldManagerConflict",
			"message": e.message, "field": ".status.loadBalancer"}}}
	}
	return o
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may have disconnected
}

// writeError answers with a Status object.
func writeError(w http.ResponseWriter, err error) {
	e := apiError{http.StatusInternalServerError, "InternalError", err.Error()}
	errors.As(err, &e)
	writeJSON(w, e.code, e.status())
}

// route answers a request that is served.
func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	target, known := parsePath(r.URL.Path)
	if err, denied := s.denied(r, known); denied {
		writeError(w, err)
		return
	}
	switch {
	case known && target.subresource == "status":
		s.serveResource(w, r, target)
	case s.store.serveAccount(w, r):
	case r.URL.Path == "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes":
		writeJSON(w, http.StatusOK, s.store.endpointSlice())
	case known:
		s.serveResource(w, r, target)
	case r.URL.Path == "/livez/ping" || r.URL.Path == "/readyz":
		_, _ = w.Write([]byte("ok"))
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"): // not stored
		writeJSON(w, http.StatusCreated, object{"kind": "Event", "apiVersion": "v1"})
	default:
		writeError(w, notFound(r.URL.Path))
	}
}

// serveResource serves get, list, watch, create, update and delete of any kind, and writes of its
// status.
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request, target resourcePath) {
	query := r.URL.Query()
	sel := selector{target, query.Get("fieldSelector"), query.Get("labelSelector")}
	switch {
	case r.Method == http.MethodGet && query.Get("watch") != "":
		s.watch(w, r, sel)
		return
	case r.Method == http.MethodGet && target.name == "":
		items, version := s.store.list(sel)
		writeJSON(w, http.StatusOK, object{"kind": target.kind.kind + "List",
			"apiVersion": target.apiVersion, "items": items,
			"metadata": object{"resourceVersion": strconv.FormatUint(version, 10)}})
		return
	}
	o, err := s.serveObject(r, target)
	switch {
	case err != nil:
		writeError(w, err)
	case r.Method == http.MethodPost:
		writeJSON(w, http.StatusCreated, o)
	default:
		writeJSON(w, http.StatusOK, o)
	}
}

// serveObject executes a request for a single object and returns the object to answer with.
func (s *Server) serveObject(r *http.Request, target resourcePath) (object, error) {
	merge := r.Header.Get("Content-Type") == "application/merge-patch+json"
	switch {
	case r.Method == http.MethodGet:
		return s.store.get(r.URL.Path)
	case r.Method == http.MethodDelete:
		return s.store.remove(r.URL.Path)
	case r.Method == http.MethodPost, r.Method == http.MethodPut,
		r.Method == http.MethodPatch && (target.subresource == "status" || merge):
	default:
		return nil, apiError{http.StatusMethodNotAllowed, "MethodNotAllowed",
			r.Method + " is not supported"}
	}
	var body object
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, apiError{http.StatusBadRequest, "BadRequest", err.Error()}
	}
	manager := r.URL.Query().Get("fieldManager")
	switch path := strings.TrimSuffix(r.URL.Path, "/status"); {
	case r.Method == http.MethodPatch && merge:
		return s.store.mergeMetadata(path, body)
	case r.Method == http.MethodPatch:
		return s.store.applyStatus(path, manager, r.URL.Query().Get("force") == "true", body)
	case target.subresource == "status":
		return s.store.updateStatus(path, manager, body)
	case r.Method == http.MethodPut:
		return s.store.update(r.URL.Path, body)
	}
	return s.store.create(fmt.Sprintf("%s/%v", r.URL.Path, metadata(body)["name"]), body)
}

// watch streams the changes since the client's version, or all objects and then the changes
// (KEP-3157).
func (s *Server) watch(w http.ResponseWriter, r *http.Request, sel selector) {
	query := r.URL.Query()
	version, _ := strconv.ParseUint(query.Get("resourceVersion"), 10, 64)
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	s.mu.Lock()
	end := s.endWatches
	s.mu.Unlock()
	timeout := time.NewTimer(time.Duration(max(seconds, 1)) * time.Second)
	defer timeout.Stop()
	w.Header().Set("Content-Type", "application/json")
	flush(w)
	if query.Get("sendInitialEvents") == "true" {
		version = s.sendInitialEvents(w, sel)
	}
	for {
		changed, err := s.sendChanges(w, &version, sel)
		if err != nil {
			return
		}
		select {
		case <-changed:
		case <-end:
			return
		case <-timeout.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// sendChanges sends the changes since version and advances it, unless watches are stalled. It
// returns a channel that is closed at the next change.
func (s *Server) sendChanges(w http.ResponseWriter, version *uint64, sel selector) (<-chan struct{},
	error) {
	found, latest, changed, err := s.store.since(*version, sel)
	if gone := (apiError{}); errors.As(err, &gone) {
		_ = json.NewEncoder(w).Encode(object{"type": "ERROR", "object": gone.status()})
		return nil, err
	}
	s.mu.Lock()
	stalled := s.watchesStalled
	s.mu.Unlock()
	if stalled {
		return changed, nil
	}
	for _, c := range found { // a lost client ends the context
		_ = json.NewEncoder(w).Encode(object{"type": c.event, "object": c.encoded})
	}
	flush(w)
	*version = latest
	return changed, nil
}

// sendInitialEvents sends all objects and the bookmark after them, and returns the list's version.
func (s *Server) sendInitialEvents(w http.ResponseWriter, sel selector) uint64 {
	items, version := s.store.list(sel)
	for _, o := range items {
		_ = json.NewEncoder(w).Encode(object{"type": "ADDED", "object": o})
	}
	_ = json.NewEncoder(w).Encode(object{"type": "BOOKMARK", "object": object{
		"kind": sel.kind.kind, "apiVersion": sel.apiVersion, "metadata": object{
			"resourceVersion": strconv.FormatUint(version, 10),
			"annotations":     object{"k8s.io/initial-events-end": "true"}}}})
	return version
}

func flush(w http.ResponseWriter) {
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

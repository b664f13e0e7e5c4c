package fakeapi

import (
	"net/http"
	"strings"
)

// DenyRule has requests answered with an error.
type DenyRule struct {
	Method string // "" is any; WATCH is a watch, which GET is not then
	Path   string // part of the path
	Code   int    // 403, 404, 409, 410, 422, 429, 500, 503
}

// reasons are those that clients branch on.
var reasons = map[int]string{
	http.StatusForbidden: "Forbidden", http.StatusNotFound: "NotFound",
	http.StatusConflict: "Conflict", http.StatusGone: "Expired",
	http.StatusUnprocessableEntity: "Invalid",
	http.StatusTooManyRequests:     "TooManyRequests", http.StatusInternalServerError: "InternalError",
	http.StatusServiceUnavailable: "ServiceUnavailable",
}

// Deny answers so from now on, in place of what was denied before. Without arguments nothing is
// denied.
func (s *Server) Deny(all ...DenyRule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denials = all
}

// StallWatches has watches stay open and show nothing, as of an API server that has lost its etcd,
// or show all that was missed.
func (s *Server) StallWatches(on bool) {
	s.mu.Lock()
	s.blind = on
	s.mu.Unlock()
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	close(s.store.more)
	s.store.more = make(chan struct{})
}

func (s *Server) isBlind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blind
}

func (s *Server) denied(r *http.Request, known bool) (failure, bool) {
	method := r.Method
	if isWatch(r.URL.RawQuery) && known {
		method = "WATCH"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.denials {
		if (d.Method == "" || d.Method == method) && strings.Contains(r.URL.Path, d.Path) {
			return failure{d.Code, reasons[d.Code], "denied by the test"}, true
		}
	}
	return failure{}, false
}

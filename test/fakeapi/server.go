// Package fakeapi is a small API server for tests: TLS, bearer tokens and client certificates, the
// kinds of objects that kvip reads, with resourceVersions, watches and server-side apply of
// statuses. Events are accepted and dropped. Several Servers on one Store are the API servers of
// one cluster. Modes and DenyRules simulate faults that a real API server cannot simulate. It has
// no admission, no authorization and no other resources.
package fakeapi

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mode is how a Server treats requests.
type Mode int

// Modes of a Server.
const (
	Serving         Mode = iota
	Hang                 // does not process requests, does not answer
	DropResponses        // processes requests, does not answer
	HoldResponses        // processes requests, answers after ReleaseResponses
	Unauthorized         // answers 401
	Forbidden            // answers 403
	TooManyRequests      // answers 429 with a Retry-After of one second
)

// Request is a request that a Server received.
type Request struct {
	Method, Path, Query string
	Token               string // bearer token, without the word Bearer
	Subject             string // common name of the client certificate
	ServerName          string // from the client's TLS hello (SNI)
	Proto               string // "HTTP/2.0"
	Client              string // address and port of the client, unique for each connection
}

// DenyRule selects requests that a Server answers with an error.
type DenyRule struct {
	Method string // "" is any. WATCH is a watch, which GET does not match.
	Path   string // part of the path
	Code   int    // 403, 404, 409, 410, 422, 429, 500, 503
}

// reasons are those that clients distinguish.
var reasons = map[int]string{
	http.StatusForbidden:           "Forbidden",
	http.StatusNotFound:            "NotFound",
	http.StatusConflict:            "Conflict",
	http.StatusGone:                "Expired",
	http.StatusUnprocessableEntity: "Invalid",
	http.StatusTooManyRequests:     "TooManyRequests",
	http.StatusInternalServerError: "InternalError",
	http.StatusServiceUnavailable:  "ServiceUnavailable",
}

// Server is one API server.
type Server struct {
	Host string // address:port

	store *Store
	http  *httptest.Server

	mu             sync.Mutex
	mode           Mode
	watchMode      Mode // for watches, if mode is Serving
	requests       []Request
	rejectedUsers  map[string]bool // tokens and subjects that get 401
	denyRules      []DenyRule
	warning        string        // header of every answer
	watchesStalled bool          // watches send no events
	endWatches     chan struct{} // closed to end the watches
	release        chan struct{} // closed by ReleaseResponses
}

// Serve starts an API server of the cluster at an address of the loopback network
// ("127.0.0.2:6443"; port 0 selects a free one). Its certificate names "kubernetes" and no address.
func (s *Store) Serve(address string) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start API server: %w", err)
	}
	server := &Server{store: s, rejectedUsers: map[string]bool{}, endWatches: make(chan struct{}),
		release: make(chan struct{})}
	server.http = &httptest.Server{Listener: listener, Config: &http.Server{Handler: server}}
	config, err := s.ca.servingConfig("kubernetes")
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	server.http.TLS, server.http.EnableHTTP2 = config, true
	server.http.Config.ErrorLog = log.New(io.Discard, "", 0) // errors of closed connections
	server.http.StartTLS()
	server.Host = server.http.Listener.Addr().String()
	return server, nil
}

// Close stops the server and ends its connections.
func (s *Server) Close() {
	closed := make(chan struct{})
	go func() {
		s.http.Close()
		close(closed)
	}()
	for { // clients may connect again until the listener is closed
		s.EndWatches()
		s.http.CloseClientConnections()
		select {
		case <-closed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// SetMode changes the mode for later requests.
func (s *Server) SetMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// SetWatchMode changes the mode for later watches, which counts while other requests are served.
func (s *Server) SetWatchMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchMode = m
}

// ReleaseResponses sends the answers of mode HoldResponses. Call it once.
func (s *Server) ReleaseResponses() { close(s.release) }

// RejectUser answers 401 to a token, or to the common name of a certificate. "" is a request
// without credentials.
func (s *Server) RejectUser(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejectedUsers[user] = true
}

// Deny replaces the rules of denied requests. Without arguments no request is denied.
func (s *Server) Deny(rules ...DenyRule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denyRules = rules
}

// StallWatches keeps watches open without events, like an API server that lost its etcd, or sends
// the missed events and continues.
func (s *Server) StallWatches(on bool) {
	s.mu.Lock()
	s.watchesStalled = on
	s.mu.Unlock()
	s.store.wakeWatches()
}

// EndWatches closes every watch, as API servers do from time to time.
func (s *Server) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.endWatches)
	s.endWatches = make(chan struct{})
}

// Warn adds a warning to every answer, like that of a deprecated API.
func (s *Server) Warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warning = text
}

// Requests returns the requests so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// RequestCount returns the number of requests with that method and a path that contains part.
func (s *Server) RequestCount(method, part string) (n int) {
	for _, r := range s.Requests() {
		if r.Method == method && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// WatchCount returns the number of watch requests.
func (s *Server) WatchCount() (n int) {
	for _, r := range s.Requests() {
		if isWatch(r.Query) {
			n++
		}
	}
	return n
}

func isWatch(query string) bool { return strings.Contains(query, "watch=") }

// ServeHTTP answers a request as its mode demands.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.warning != "" {
		w.Header().Set("Warning", `299 - "`+s.warning+`"`)
	}
	s.mu.Unlock()
	switch s.record(r) {
	case Hang:
		<-r.Context().Done()
	case DropResponses:
		s.route(httptest.NewRecorder(), r)
		<-r.Context().Done()
	case HoldResponses:
		held := httptest.NewRecorder()
		s.route(held, r)
		select {
		case <-s.release:
			maps.Copy(w.Header(), held.Header())
			w.WriteHeader(held.Code)
			_, _ = w.Write(held.Body.Bytes()) // the client may have disconnected
		case <-r.Context().Done():
		}
	case Unauthorized:
		writeError(w, apiError{http.StatusUnauthorized, "Unauthorized", "Unauthorized"})
	case Forbidden:
		writeError(w, apiError{http.StatusForbidden, "Forbidden", "not allowed"})
	case TooManyRequests:
		w.Header().Set("Retry-After", "1")
		writeError(w, apiError{http.StatusTooManyRequests, "TooManyRequests", "busy"})
	default:
		s.route(w, r)
	}
}

// record adds a request to the list and returns its mode.
func (s *Server) record(r *http.Request) Mode {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	q := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Token: token,
		ServerName: r.TLS.ServerName, Proto: r.Proto, Client: r.RemoteAddr}
	if len(r.TLS.PeerCertificates) > 0 {
		q.Subject = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, q)
	switch {
	case q.Token != "" && s.rejectedUsers[q.Token], q.Subject != "" && s.rejectedUsers[q.Subject],
		q.Token == "" && q.Subject == "" && s.rejectedUsers[""]:
		return Unauthorized
	case s.mode != Serving:
		return s.mode
	case s.store.forbidden(q.Token, r.URL.Path):
		return Forbidden
	case isWatch(r.URL.RawQuery):
		return s.watchMode
	}
	return Serving
}

// denied returns the error of the first rule that matches a request.
func (s *Server) denied(r *http.Request, known bool) (apiError, bool) {
	method := r.Method
	if isWatch(r.URL.RawQuery) && known {
		method = "WATCH"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.denyRules {
		if (d.Method == "" || d.Method == method) && strings.Contains(r.URL.Path, d.Path) {
			return apiError{d.Code, reasons[d.Code], "denied by the test"}, true
		}
	}
	return apiError{}, false
}

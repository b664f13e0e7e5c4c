package fakeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// Mode is how a Server treats requests.
type Mode int

// Modes of a Server.
const (
	Serving         Mode = iota
	Hang                 // takes requests, does nothing, never answers
	DropResponses        // does what is asked and never answers
	Unauthorized         // answers 401
	Forbidden            // answers 403
	TooManyRequests      // answers 429 with a Retry-After of a second
	HoldResponses        // does what is asked and answers when Continue is called
)

// Request is one that a Server got.
type Request struct {
	Method, Path, Query string
	Token               string // bearer token, without the word Bearer
	Subject             string // common name of the client certificate
	ServerName          string // that the client asked for in its TLS hello (SNI)
	Proto               string // "HTTP/2.0"
	Client              string // address and port of the client: one for each connection
}

// Server is one API server.
type Server struct {
	Host string // address:port

	store *Store
	http  *httptest.Server

	mu       sync.Mutex
	mode     Mode
	watches  Mode // for watches, unless mode is not Serves
	requests []Request
	refused  map[string]bool // tokens and subjects that get 401
	denials  []DenyRule
	warning  string        // that every answer carries
	blind    bool          // watches show nothing
	end      chan struct{} // closed to end the watches
	proceed  chan struct{} // closed to let answers in mode Late go
}

// Serve starts an API server of the cluster at an address of the loopback network
// ("127.0.0.2:6443"; port 0 finds a free one). Its certificate names "kubernetes" and no
// address.
func (s *Store) Serve(address string) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start API server: %w", err)
	}
	server := &Server{store: s, refused: map[string]bool{}, end: make(chan struct{}),
		proceed: make(chan struct{})}
	server.http = &httptest.Server{Listener: listener, Config: &http.Server{Handler: server}}
	config, err := s.ca.serving("kubernetes")
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	server.http.TLS, server.http.EnableHTTP2 = config, true
	server.http.Config.ErrorLog = log.New(quiet{}, "", 0)
	server.http.StartTLS()
	server.Host = server.http.Listener.Addr().String()
	return server, nil
}

// quiet drops the complaints of net/http about clients that hang up.
type quiet struct{}

func (quiet) Write(p []byte) (int, error) { return len(p), nil }

// Close stops the server and ends its connections.
func (s *Server) Close() {
	closed := make(chan struct{})
	go func() {
		s.http.Close()
		close(closed)
	}()
	for { // a client may have connected again before the listener was closed
		s.EndWatches()
		s.http.CloseClientConnections()
		select {
		case <-closed:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// SetMode changes how requests are treated from now on.
func (s *Server) SetMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// SetWatchMode changes how watches are treated from now on, where other requests are served.
func (s *Server) SetWatchMode(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches = m
}

// ReleaseResponses lets the answers go that mode Late holds.
func (s *Server) ReleaseResponses() { close(s.proceed) }

// RejectUser answers 401 to a token or the common name of a certificate; "" is nobody's.
func (s *Server) RejectUser(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[user] = true
}

// EndWatches closes every watch, as API servers do now and then.
func (s *Server) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.end)
	s.end = make(chan struct{})
}

// Requests returns what was asked so far, oldest first.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// RequestCount is how many requests had that method and a path that contains part.
func (s *Server) RequestCount(method, part string) (n int) {
	for _, r := range s.Requests() {
		if r.Method == method && strings.Contains(r.Path, part) {
			n++
		}
	}
	return n
}

// WatchCount is how many watches were asked for.
func (s *Server) WatchCount() (n int) {
	for _, r := range s.Requests() {
		if isWatch(r.Query) {
			n++
		}
	}
	return n
}

func isWatch(query string) bool { return strings.Contains(query, "watch=") }

// Warn has every answer carry a warning, as of a deprecated API.
func (s *Server) Warn(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warning = text
}

// ServeHTTP answers by the mode in force.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.warning != "" {
		w.Header().Set("Warning", `299 - "`+s.warning+`"`)
	}
	s.mu.Unlock()
	switch s.admit(r) {
	case Hang:
		<-r.Context().Done()
	case DropResponses:
		s.route(httptest.NewRecorder(), r)
		<-r.Context().Done()
	case Unauthorized:
		refuse(w, failure{http.StatusUnauthorized, "Unauthorized", "Unauthorized"})
	case TooManyRequests:
		w.Header().Set("Retry-After", "1")
		refuse(w, failure{http.StatusTooManyRequests, "TooManyRequests", "busy"})
	case HoldResponses:
		held := httptest.NewRecorder()
		s.route(held, r)
		select {
		case <-s.proceed:
			maps.Copy(w.Header(), held.Header())
			w.WriteHeader(held.Code)
			w.Write(held.Body.Bytes())
		case <-r.Context().Done():
		}
	case Forbidden:
		refuse(w, failure{http.StatusForbidden, "Forbidden", "not allowed"})
	default:
		s.route(w, r)
	}
}

// admit notes a request and says how to treat it.
func (s *Server) admit(r *http.Request) Mode {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	q := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Token: token,
		ServerName: r.TLS.ServerName,
		Proto:      r.Proto, Client: r.RemoteAddr}
	if len(r.TLS.PeerCertificates) > 0 {
		q.Subject = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, q)
	if q.Token != "" && s.refused[q.Token] || q.Subject != "" && s.refused[q.Subject] ||
		q.Token == "" && q.Subject == "" && s.refused[""] {
		return Unauthorized
	}
	if s.mode == Serving && s.store.forbidden(q.Token, r.URL.Path) {
		return Forbidden
	}
	if s.mode == Serving && isWatch(r.URL.RawQuery) {
		return s.watches
	}
	return s.mode
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	at, known := placeOf(r.URL.Path)
	if f, denied := s.denied(r, known); denied {
		refuse(w, f)
		return
	}
	switch {
	case known && at.sub == "status":
		s.object(w, r, at)
	case s.aboutRights(w, r):
	case r.URL.Path == "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes":
		answer(w, http.StatusOK, s.store.endpointSlice())
	case known:
		s.object(w, r, at)
	case r.URL.Path == "/livez/ping" || r.URL.Path == "/readyz":
		_, _ = w.Write([]byte("ok"))
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/events"):
		// taken and forgotten
		answer(w, http.StatusCreated, object{"kind": "Event", "apiVersion": "v1"})
	default:
		refuse(w, notFound(r.URL.Path))
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

// refuse answers with a Status object.
func refuse(w http.ResponseWriter, err error) {
	f := failure{http.StatusInternalServerError, "InternalError", err.Error()}
	errors.As(err, &f)
	answer(w, f.code, f.status())
}

func (f failure) status() object {
	o := object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": f.detail,
		"reason": f.reason, "code": f.code}
	if strings.HasPrefix(f.detail, "Apply failed") {
		o["details"] = object{"causes": []object{{"reason": "FieldManagerConflict", "message": f.detail,
			"field": ".status.loadBalancer"}}}
	}
	return o
}

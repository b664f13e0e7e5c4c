package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kvip/kvip/pkg/election"
)

// patience limits how long a test waits for an expected event. No test asserts a time.
const patience = 20 * time.Second

// apiServer is a TLS server with the API server's health endpoints. Tests change its behaviour
// while it runs.
type apiServer struct {
	*httptest.Server
	sockets      *sockets
	ready, ping  atomic.Pointer[http.HandlerFunc]
	polls, conns atomic.Int64
	released     chan struct{}
}

func answer(status int, body string) *http.HandlerFunc {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})
	return &h
}

// silence does not answer until the server is closed or the client cancels.
func (a *apiServer) silence() *http.HandlerFunc {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-a.released:
		case <-r.Context().Done():
		}
	})
	return &h
}

func newAPIServer(t testing.TB) *apiServer {
	t.Helper()
	a := &apiServer{released: make(chan struct{})}
	a.ready.Store(answer(200, "ok"))
	a.ping.Store(answer(200, "ok"))
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		a.polls.Add(1)
		(*a.ready.Load())(w, r)
	})
	mux.HandleFunc("/livez/ping", func(w http.ResponseWriter,
		r *http.Request) {
		(*a.ping.Load())(w, r)
	})
	a.Server = httptest.NewUnstartedServer(mux)
	a.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	a.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			a.conns.Add(1)
		}
	}
	a.sockets = &sockets{Listener: a.Listener}
	a.Listener = a.sockets
	a.StartTLS()
	release := sync.OnceFunc(func() { close(a.released) })
	t.Cleanup(func() { release(); a.sockets.end(); a.Close() })
	return a
}

// sockets are those of a server, below TLS.
type sockets struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	dying bool
}

// Accept keeps the connections that come after end, which stay without an answer, as those that the
// kernel accepts for a process that dies.
func (s *sockets) Accept() (net.Conn, error) {
	for {
		c, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		dying := s.dying
		s.mu.Unlock()
		if !dying {
			return c, nil
		}
	}
}

// end closes all connections without a TLS alert, as the kernel does, and answers no new one.
func (s *sockets) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dying = true
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// kill stops the server as SIGKILL does: all its sockets close.
func (a *apiServer) kill() {
	a.Listener.Close()
	a.CloseClientConnections()
}

// killSlowly closes the connections first, so that a redial meets a listener that is about to
// close:
// the order that is harder to notice.
func (a *apiServer) killSlowly() {
	a.CloseClientConnections()
	a.kill()
}

// trust returns a TLS hook that trusts the server's certificate.
func (a *apiServer) trust() func() (*tls.Config, error) {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return func() (*tls.Config, error) {
		return &tls.Config{RootCAs: pool, ServerName: "example.com"}, nil
	}
}

// stateLog records the states of one prober.
type stateLog struct {
	t      *testing.T
	states chan State
	calls  atomic.Int64
}

// start runs a prober until the test ends and checks that Run returns then.
func start(t *testing.T, cfg Config) *stateLog {
	t.Helper()
	w := &stateLog{t: t, states: make(chan State, 1000)}
	cfg.OnState = func(s State) {
		w.calls.Add(1)
		select {
		case w.states <- s:
		default:
		}
	}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not return")
		}
	})
	return w
}

// until waits for a state, and returns it and the states before it.
func (w *stateLog) until(v election.Verdict, code string) (State, []State) {
	w.t.Helper()
	var before []State
	deadline := time.After(patience)
	for {
		select {
		case s := <-w.states:
			if s.Verdict == v && s.Code == code {
				return s, before
			}
			before = append(before, s)
		case <-deadline:
			w.t.Fatalf("no state %v %q, but %+v", v, code, before)
		}
	}
}

// urls returns a URLs hook.
func urls(list ...string) func() []string { return func() []string { return list } }

// refusing returns a base URL at which nothing listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

// listener passes the connections that it accepts to serve.
func listener(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serve(conn)
		}
	}()
	return "https://" + l.Addr().String()
}

// unaccepting returns a listening socket without accept calls, as that of a stopped process.
func unaccepting(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// holdOpen keeps connections open until the test ends and never answers, as a process without CPU
// or in a deadlock does.
func holdOpen(t *testing.T) func(net.Conn) {
	var mu sync.Mutex
	var held []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range held {
			c.Close()
		}
	})
	return func(c net.Conn) { mu.Lock(); held = append(held, c); mu.Unlock() }
}

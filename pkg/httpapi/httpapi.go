// Package httpapi serves the agent's HTTP pages: /healthz, /readyz, /status and /services on
// loopback, /status, /services and /metrics for the network. It limits what clients can make the
// process keep. It does not decide what the pages show.
package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/kvip/kvip/pkg/backoff"
	"github.com/kvip/kvip/pkg/metrics"
	"github.com/kvip/kvip/pkg/printable"
	"github.com/kvip/kvip/pkg/required"
	"github.com/kvip/kvip/pkg/status"
)

const (
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
	// idleTimeout limits how long a connection without a request counts against the limits.
	idleTimeout = 5 * time.Second
	// headerLimit is far above what probes, Prometheus and kvip status send.
	headerLimit = 8 << 10
)

// listenPause is the pause before a port in use is tried again.
var listenPause = backoff.Backoff{Min: 2 * time.Second, Max: 2 * time.Second}

var (
	// publicLimits are for the pages that the network reaches. A page of thousands of Services
	// takes some MiB while it is written, so few are written at one time.
	publicLimits = limits{
		connections: 32, perSource: 8, requests: 8, request: requestTimeout, answer: answerTimeout,
	}
	// localLimits are for the pages on loopback, where all clients have one address.
	localLimits = limits{connections: 64, request: requestTimeout, answer: answerTimeout}
)

// Config of a Server.
type Config struct {
	// HealthAddress serves the local pages, and is how `kvip healthz` finds this agent. Required.
	HealthAddress string
	// MetricsAddress serves the pages for the network. Empty: they are not served.
	MetricsAddress string
	// Stuck names a component without progress; "" makes /healthz answer 200. Required.
	Stuck func() string
	// NotReady returns why the agent is not ready; "" makes /readyz answer 200. Required.
	NotReady func() string
	// Credentials returns the second line of /readyz, "" for none. Required.
	Credentials func() string
	// Status returns the page /status. Required.
	Status func() status.Agent
	// Services returns the page /services, nil if this agent serves no Services. Required.
	Services func() http.Handler
	// Metrics has the page /metrics. Nil serves an empty one.
	Metrics *metrics.Set
	// Log is the logger. Nil discards.
	Log *slog.Logger
}

// Server serves the pages. Make it with New.
type Server struct{ cfg Config }

// New validates the configuration. It opens no port.
func New(cfg Config) (*Server, error) {
	if err := required.Fields("HTTP server", map[string]bool{
		"HealthAddress": cfg.HealthAddress == "", "Stuck": cfg.Stuck == nil,
		"NotReady": cfg.NotReady == nil, "Credentials": cfg.Credentials == nil,
		"Status": cfg.Status == nil, "Services": cfg.Services == nil,
	}); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg}, nil
}

// Run serves until ctx ends. A port in use does not end it.
func (s *Server) Run(ctx context.Context) {
	local, public := http.NewServeMux(), http.NewServeMux()
	local.HandleFunc("/healthz", s.healthz)
	local.HandleFunc("/readyz", s.readyz)
	public.HandleFunc("/metrics", s.metrics)
	for _, mux := range []*http.ServeMux{local, public} {
		mux.HandleFunc("/status", s.status)
		mux.HandleFunc("/services", s.services)
	}
	var servers sync.WaitGroup
	servers.Go(func() { s.serveKubelet(ctx, local) })
	servers.Go(func() { s.serveTCP(ctx, s.cfg.HealthAddress, local, localLimits) })
	if s.cfg.MetricsAddress != "" {
		servers.Go(func() { s.serveTCP(ctx, s.cfg.MetricsAddress, public, publicLimits) })
	}
	servers.Wait()
}

// serveTCP serves on a TCP address until ctx ends.
func (s *Server) serveTCP(ctx context.Context, address string, pages http.Handler, limit limits) {
	s.serveAddress(ctx, address, pages, limit, func() (net.Listener, error) {
		return listen(ctx, address, limit)
	})
}

// serveAddress serves until ctx ends on the listener that open returns. While it cannot, it tries
// again, and logs that once.
func (s *Server) serveAddress(ctx context.Context, address string, pages http.Handler,
	limit limits, open func() (net.Listener, error)) {
	logged := false
	listenPause.Retry(ctx, func(int) error {
		listener, err := open()
		if err == nil {
			logged = false
			err = s.serve(ctx, listener, pages, limit)
		}
		if err != nil && ctx.Err() == nil && !logged {
			s.cfg.Log.Warn("cannot serve; trying again", "address", address, "err", err)
			logged = true
		}
		return err
	})
}

// serve serves on one listener. It returns nil if ctx has ended.
func (s *Server) serve(ctx context.Context, listener net.Listener, pages http.Handler,
	limit limits) error {
	server := &http.Server{
		Handler: limitRequests(pages, limit), MaxHeaderBytes: headerLimit, ReadTimeout: limit.request,
		WriteTimeout: limit.answer, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// limitRequests serves at most limit.requests requests at one time. The others wait.
func limitRequests(pages http.Handler, limit limits) http.Handler {
	if limit.requests == 0 {
		return pages
	}
	slots := make(chan struct{}, limit.requests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			pages.ServeHTTP(w, r)
		case <-r.Context().Done():
		case <-time.After(limit.answer / 2):
			http.Error(w, "too many requests at one time", http.StatusServiceUnavailable)
		}
	})
}

// healthz fails if a component makes no progress, and for no other reason (E12).
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) { answer(w, s.cfg.Stuck()) }

// readyz reports whether the agent is ready, and in a second line its credentials.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	answer(w, s.cfg.NotReady())
	if line := s.cfg.Credentials(); line != "" {
		_, _ = fmt.Fprintln(w, printable.Message(line))
	}
}

// answer writes 200 ok, or 503 and the problem.
func answer(w http.ResponseWriter, problem string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if problem != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, printable.Message(problem))
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// metrics serves the metrics. Whether the agent is ready is determined at each request.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	s.cfg.Metrics.Ready(s.cfg.NotReady() == "")
	s.cfg.Metrics.Handler().ServeHTTP(w, r)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(printable.JSON(w))
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(s.cfg.Status())
}

func (s *Server) services(w http.ResponseWriter, r *http.Request) {
	page := s.cfg.Services()
	if page == nil {
		http.Error(w, "this agent serves no Services", http.StatusNotFound)
		return
	}
	page.ServeHTTP(w, r)
}

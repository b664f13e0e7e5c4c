package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// bindAgain is how long to wait before a port that is in use is tried again.
	bindAgain      = 2 * time.Second
	requestTimeout = 5 * time.Second
	answerTimeout  = 10 * time.Second
	// idleTimeout bounds how long a connection keeps its place without a request.
	idleTimeout = 5 * time.Second
	// headerLimit is far above what probes, Prometheus and kvip status send.
	headerLimit = 8 << 10
)

var (
	// publicLimits are for the pages that the network reaches. A page of thousands of Services takes
	// some MiB while it is written, so few are written at one time.
	publicLimits = limits{connections: 32, perSource: 8, requests: 8, request: requestTimeout, answer: answerTimeout}
	// localLimits are for the pages on loopback, where all clients have one address.
	localLimits = limits{connections: 64, request: requestTimeout, answer: answerTimeout}
)

// serve starts the servers and returns what stops them.
func (p *pages) serve(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var servers sync.WaitGroup
	local, public := http.NewServeMux(), http.NewServeMux()
	for path, page := range map[string]http.HandlerFunc{"/healthz": p.healthz, "/readyz": p.readyz, "/status": p.statusz} {
		local.HandleFunc(path, page)
	}
	public.HandleFunc("/status", p.statusz)
	public.HandleFunc("/metrics", p.metricsz)
	for _, mux := range []*http.ServeMux{local, public} {
		mux.HandleFunc("/services", p.servicesz)
	}
	if p.cfg.HealthAddress != "" {
		servers.Go(func() { p.serveProbes(ctx, local) })
		servers.Go(func() { p.keepServing(ctx, p.cfg.HealthAddress, local, localLimits) })
	}
	if p.cfg.MetricsAddress != "" {
		servers.Go(func() { p.keepServing(ctx, p.cfg.MetricsAddress, public, publicLimits) })
	}
	return func() {
		cancel()
		servers.Wait()
	}
}

// keepServing serves on address until ctx ends. A port in use is no reason to give up
// the virtual address: it is told once and tried again.
func (p *pages) keepServing(ctx context.Context, address string, pages http.Handler, max limits) {
	for told := false; ; {
		listener, err := listen(ctx, address, max)
		if err == nil {
			told = false
			err = p.serveOn(ctx, listener, pages, max)
		}
		if ctx.Err() != nil {
			return
		}
		if !told {
			p.log.Warn("cannot serve; trying again", "address", address, "reason", err)
			told = true
		}
		if !pause(ctx, bindAgain) {
			return
		}
	}
}

func (p *pages) serveOn(ctx context.Context, listener net.Listener, pages http.Handler, max limits) error {
	server := &http.Server{
		Handler: inTurn(pages, max), MaxHeaderBytes: headerLimit, ReadTimeout: max.request, WriteTimeout: max.answer, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// inTurn answers as many requests at one time as max allows, and lets the others wait for their turn.
func inTurn(pages http.Handler, max limits) http.Handler {
	if max.requests == 0 {
		return pages
	}
	turns := make(chan struct{}, max.requests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			pages.ServeHTTP(w, r)
		case <-r.Context().Done():
		case <-time.After(max.answer / 2):
			http.Error(w, "too many requests at one time", http.StatusServiceUnavailable)
		}
	})
}

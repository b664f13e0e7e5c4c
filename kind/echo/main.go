// Command echo is the application of the case study in kind: a small HTTP server that answers with
// its pod, its node and the client's address. Clients can make it unready. It ends without losing a
// request. With a collector, each request is a span of OpenTelemetry. It is for demos and tests
// only: every client may change its readiness.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	drainWithin = 5 * time.Second // for open requests after the listener is closed
	flushWithin = 3 * time.Second // for the last spans; the collector may not answer
)

// options has the command line and the pod's fields from the downward API.
type options struct {
	listen   string
	lameDuck time.Duration
	pod      string
	node     string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // the flag package has printed the error
	}
	if err := run(ctx, o, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// parse reads the command line; env is os.Getenv.
func parse(args []string, env func(string) string) (o options, err error) {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	fs.StringVar(&o.listen, "listen", ":8080", "`address` to serve")
	fs.DurationVar(&o.lameDuck, "lame-duck", 5*time.Second,
		"time to keep serving after SIGTERM, while clients and proxies switch to other pods")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.pod, o.node = env("POD_NAME"), env("NODE_NAME"); o.pod == "" {
		o.pod, err = os.Hostname()
	}
	return o, err
}

// run serves until ctx ends, then for the lame-duck time, and then until open requests are
// answered. It sends all spans before it returns.
func run(ctx context.Context, o options, stderr io.Writer) (err error) {
	tracer, flush, err := newTracer(ctx, o, os.Getenv, stderr)
	if err != nil {
		return fmt.Errorf("set up tracing: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
		defer cancel()
		err = errors.Join(err, flush(ctx))
	}()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	log.Info("serving", "address", listener.Addr().String(), "pod", o.pod, "node", o.node)
	e := newEcho(o.pod, o.node, tracer)
	server := &http.Server{Handler: e.handler(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("shutting down", "lameDuck", o.lameDuck.String())
	return shutDown(context.WithoutCancel(ctx), server, e, o.lameDuck)
}

// shutDown ends a server. It reports not ready and serves for the lame-duck time, because proxies
// on other nodes send requests here until they see the new state.
func shutDown(ctx context.Context, server *http.Server, e *echo, lameDuck time.Duration) error {
	e.ready.Store(false)
	server.SetKeepAlivesEnabled(false) // clients with open connections connect again, to other pods
	time.Sleep(lameDuck)
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("shut down server: %w", err)
	}
	return nil
}

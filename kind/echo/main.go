// Command echo is the application of the case study in kind: a small HTTP server that says which
// pod answered, on which node, and whom it sees as the client. It can be made unready, and ends
// without losing a request; each request is a span of OpenTelemetry if a collector is set. It is
// for demonstrations and tests: every client may make it unready.
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
	drainWithin = 5 * time.Second // for open requests, once no new ones are accepted
	flushWithin = 3 * time.Second // for spans to reach a collector, which may be gone
)

// options are the command line, and the pod's fields from the downward API.
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
		os.Exit(2) // the flag package has said why
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
		"how long to go on serving after SIGTERM, while clients and proxies switch to other pods")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.pod, o.node = env("POD_NAME"), env("NODE_NAME"); o.pod == "" {
		o.pod, err = os.Hostname()
	}
	return o, err
}

// run serves until ctx ends, then for the time of the lame duck, and then until open requests are
// answered. Spans are on their way when it returns.
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
	log.Info("ending", "lame duck", o.lameDuck.String())
	return end(context.WithoutCancel(ctx), server, e, o.lameDuck)
}

// end takes a server out of use. It serves on while the news spreads that it is not ready: proxies
// on other nodes hear of it later than this process, and until then they send requests here.
func end(ctx context.Context, server *http.Server, e *echo, lameDuck time.Duration) error {
	e.ready.Store(false)
	server.SetKeepAlivesEnabled(false) // clients with open connections go elsewhere
	time.Sleep(lameDuck)
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("answer open requests: %w", err)
	}
	return nil
}

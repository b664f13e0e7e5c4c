// Command benchservices measures the Services part with few and with thousands of Services: how soon each
// has its address and answers ARP, how soon all of a dead node's addresses answer elsewhere, and what
// agents cost that have nothing to do.
//
// Each result is appended to docs/benchmarks/services.csv at once, and is not measured again for the same
// version of kvip. Table and plot are made from the file alone. It judges nothing: no figure makes it fail.
//
// RUNS and N in the environment choose what is measured; it needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	docs := flag.String("docs", "docs", "directory of benchmarks.md and benchmarks/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := bench(ctx, *docs, idleFor)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; what was measured is kept, the next start goes on from there")
		stop()
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench-services:", err)
		os.Exit(1)
	}
}

// bench measures what is missing and writes the report of all there is.
func bench(ctx context.Context, docs string, idle time.Duration) error {
	opts, err := parseOptions(os.Getenv)
	if err != nil {
		return err
	}
	r, err := openReport(docs)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, opts, r, idle)
	if err != nil {
		return err
	}
	err = s.measure(ctx)
	return errors.Join(err, s.close(), r.write())
}

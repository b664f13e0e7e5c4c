// Command bench measures how long the address is away in each fault of its holder, for kvip
// and, on the same nodes in the same session, for keepalived; and what idle agents cost.
//
// Each single result is appended to docs/benchmarks/failover.csv at once, and is not measured
// again for the same version of the tool: an interrupted benchmark goes on where it stopped.
// Tables and plot are made from the files alone. It judges nothing: no figure makes it fail.
//
// RUNS, TOOL and FAULT in the environment choose what is measured; it needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	docs := flag.String("docs", "docs", "directory of benchmarks.md and benchmarks/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := bench(ctx, *docs)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; what was measured is kept, the next start goes on from there")
		stop()
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench measures what is missing and writes the report of all there is.
func bench(ctx context.Context, docs string) error {
	opts, err := parseOptions(os.Getenv)
	if err != nil {
		return err
	}
	r, err := openReport(docs)
	if err != nil {
		return err
	}
	s, err := newSession(ctx, opts, r)
	if err != nil {
		return err
	}
	err = s.measure(ctx)
	return errors.Join(err, s.close(), r.write())
}

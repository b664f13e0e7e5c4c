// Command bench measures kvip on real API servers and packets.
//
//	bench failover   outage of the VIP in each fault of its holder, beside keepalived; with MODE=bgp
//	                 in each fault of a node that announces it, beside BIRD and MetalLB's speaker
//	bench services   addresses of 10 to 5000 Services, and of a dead node
//
// Each result is appended to a CSV file in docs/benchmarks at once, and is not measured again for
// the same version of a tool: an interrupted benchmark continues where it stopped. Tables and plots
// are made from the files alone. No figure makes it fail. RUNS and other variables choose what is
// measured; it needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kvip/kvip/test/bench/bgpbench"
	"github.com/kvip/kvip/test/bench/failoverbench"
	"github.com/kvip/kvip/test/bench/servicesbench"
)

func main() {
	docs := flag.String("docs", "docs", "directory of benchmarks.md and benchmarks/")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, flag.Arg(0), *docs)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "interrupted; results are kept, the next start continues from there")
		stop()
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run makes one benchmark by its name.
func run(ctx context.Context, name, docs string) error {
	switch name {
	case "failover":
		switch mode := os.Getenv("MODE"); mode {
		case "", "arp":
			return failoverbench.Run(ctx, docs)
		case "bgp":
			return bgpbench.Run(ctx, docs)
		default:
			return fmt.Errorf("read MODE: there is no %q, but arp and bgp", mode)
		}
	case "services":
		return servicesbench.Run(ctx, docs)
	}
	return errors.New("usage: bench [-docs DIR] failover|services")
}

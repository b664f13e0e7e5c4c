// Command soak runs the Services part for a long time under everything that changes: Services come
// and go and change, endpoints move, agents end and come back, connections with the API break. It
// fails if an address is ever given out twice, is lost or left over, or if an agent grows.
//
// With MODE=bgp it runs the control plane by BGP under random faults instead: package bgpsoak.
//
// MINUTES in the environment is for how long (30), SERVICES how many there are at most (150), SEED
// repeats a course of events. It needs root. How fast things are is not its question: see
// test/bench.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kvip/kvip/test/soak/bgpsoak"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

// run runs the soak of MODE.
func run(ctx context.Context, getenv func(string) string) error {
	switch mode := getenv("MODE"); mode {
	case "", "services":
	case "bgp":
		return bgpsoak.Run(ctx, getenv)
	default:
		return fmt.Errorf("read MODE: there is no %q, but services and bgp", mode)
	}
	o, err := parseOptions(getenv)
	if err != nil {
		return err
	}
	return soak(ctx, o)
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Command soak runs the Services part for a long time under everything that changes: Services come
// and go and change, endpoints move, agents end and come back, connections with the API break. It
// fails if an address is ever given out twice, is lost or left over, or if an agent grows.
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Getenv)
	if err == nil {
		err = soak(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

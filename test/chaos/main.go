// Command chaos lets faults drawn at random happen to a control plane with kvip, one after the
// other and some at the same time: processes are frozen and killed, frames get lost, links are cut
// in one direction, tables of nftables are flushed. Every 5 ms it asks on the wire which node
// answers for the virtual IPs. It fails if two nodes ever do, or if the control plane does not
// recover.
//
// FAULTS in the environment is how many there are (500), SEED repeats a course of events. With
// PRESSURE, a duration, there are busy processes and lost frames instead, and neither may the
// address move nor a fence shut. It needs root. How fast things are is not its question: see
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
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1)
	}
}

// say writes a line for people.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

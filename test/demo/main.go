// Command demo shows kvip at work: three real control-plane nodes on this machine, kvip on each
// with the arguments of a manifest that it just printed, a client that asks the address a
// hundred times a second, and every fault of the holder in turn.
//
// It is no test: it proves what it shows once. It needs root and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
	"github.com/kvip/kvip/test/show"
)

func main() {
	start := time.Now()
	// Building can take minutes and leaves nothing to remove: signals end it the usual way.
	binaries, err := cluster.Binaries(os.Stdout)
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err = run(ctx, binaries)
	switch {
	case ctx.Err() != nil:
		stop()
		fmt.Println("interrupted; everything has been removed")
		os.Exit(130)
	case err != nil:
		fail(err)
	}
	fmt.Printf("\neverything has been removed, after %.0f s\n", time.Since(start).Seconds())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "demo:", err)
	os.Exit(1)
}

// run runs the demo from the start of the cluster to its end.
func run(ctx context.Context, binaries string) (err error) {
	path, version, err := failover.FindKvip(ctx)
	if err != nil {
		return err
	}
	tool, err := failover.NewKvip(ctx, path, version, cluster.VIP4)
	if err != nil {
		return err
	}
	out := show.NewScreen(os.Stdout)
	c, err := cluster.Start(ctx, cluster.Config{
		Binaries: binaries, Progress: out, API: cluster.APIOptions{ShutdownDelay: failover.ShutdownDelay},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	d := &demo{out: out, cluster: c, tool: tool, vip: cluster.VIP4, mending: map[*cluster.Node]*mender{}}
	return d.run(ctx)
}

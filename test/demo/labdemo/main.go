// Package labdemo shows kvip on three control-plane nodes in network namespaces: kvip on each with
// the arguments of a manifest that it just printed, a client that sends a hundred requests a second
// to the VIP, and each fault of the holder in turn. It needs root and leaves nothing behind.
package labdemo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kvip/kvip/test/demo/screen"
	"github.com/kvip/kvip/test/failover"
	"github.com/kvip/kvip/test/lab/cluster"
)

// Main runs the demonstration and returns the exit code: 0, 1 after a failure and 130 after an
// interruption, which ends ctx.
func Main(ctx context.Context) int {
	start := time.Now()
	err := build(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Println("interrupted; everything has been removed")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Printf("\neverything has been removed, after %.0f s\n", time.Since(start).Seconds())
	return 0
}

func build(ctx context.Context) error {
	binaries, err := cluster.Binaries(os.Stdout)
	if err != nil {
		return err
	}
	return run(ctx, binaries)
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
	out := screen.NewScreen(os.Stdout)
	c, err := cluster.Start(ctx, cluster.Config{
		Binaries: binaries, Progress: out, API: cluster.APIOptions{ShutdownDelay: failover.ShutdownDelay},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	d := &demo{out: out, cluster: c, tool: tool, vip: cluster.VIP4,
		repairs: map[*cluster.Node]*repair{}}
	return d.run(ctx)
}

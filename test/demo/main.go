// Command demo shows kvip at work. It is not a test: it proves what it shows once.
//
//	demo lab        three control-plane nodes in network namespaces, each fault of the holder
//	demo kind       a cluster in kind whose holder is killed
//	demo services   an application behind an address in kind: a drain, then a dead node
//	demo bgp        a cluster in kind behind two BGP routers: each of its parts is killed
//
// make demo, make kind-demo, make kind-services-demo and make kind-bgp-demo prepare what they need.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kvip/kvip/test/demo/bgpdemo"
	"github.com/kvip/kvip/test/demo/kinddemo"
	"github.com/kvip/kvip/test/demo/labdemo"
	"github.com/kvip/kvip/test/demo/servicesdemo"
)

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the program
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run shows one demonstration and returns the exit code.
func run(ctx context.Context, args []string) int {
	if len(args) == 1 {
		switch args[0] {
		case "lab":
			return labdemo.Main(ctx)
		case "kind":
			return kinddemo.Main(ctx)
		case "services":
			return servicesdemo.Main(ctx)
		case "bgp":
			return bgpdemo.Main(ctx)
		}
	}
	fmt.Fprintln(os.Stderr, "usage: demo lab|kind|services|bgp")
	return 2
}

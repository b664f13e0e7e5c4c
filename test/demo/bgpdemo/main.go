// Package bgpdemo shows kvip by BGP in a Kubernetes cluster in kind: three control planes and two
// workers behind two routers, FRR and BIRD, which spread packets over all nodes that announce an
// address. The control plane's VIP is kubeadm's endpoint from the start; a Service has another
// address. It kills an API server, nodes and both routers, and prints what a client behind the
// routers lost. Everything is removed at the end, unless KEEP is set.
package bgpdemo

import (
	"context"
	"os"

	"github.com/kvip/kvip/test/demo/kindenv"
)

const (
	clusterName = "bgp" // as in kind/down.sh
	workers     = 2
)

// Main runs the demonstration and returns the exit code.
func Main(ctx context.Context) int {
	d := &demo{Env: &kindenv.Env{Target: "kind-bgp-demo", Name: clusterName},
		keep: os.Getenv("KEEP") != ""}
	d.Remove = func(ctx context.Context) error { return removeFabric(ctx, d.Cfg.Engine) }
	return d.Main(ctx, d.run)
}

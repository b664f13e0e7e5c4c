// Package kinddemo shows kvip in a Kubernetes cluster in kind: kubeadm, kubelet and containerd of
// three control planes and two workers, whose endpoint is the VIP from before kubeadm init on. It
// kills the holder, shows what a client sees, and starts the node again. The cluster stays until
// make kind-down.
package kinddemo

import (
	"context"

	"github.com/kvip/kvip/test/demo/kindenv"
)

const (
	clusterName = "ha" // as in kind/ha.yaml and kind/down.sh
	workers     = 2
)

// Main runs the demonstration and returns the exit code.
func Main(ctx context.Context) int {
	d := &demo{Env: &kindenv.Env{Target: "kind-demo", Name: clusterName}}
	return d.Main(ctx, d.run)
}

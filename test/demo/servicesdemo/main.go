// Package servicesdemo shows kvip for Services of type LoadBalancer in a Kubernetes cluster in
// kind: an application in three pods behind one address, a pod that is made unready, a drain of the
// announcing node under load, and the death of such a node. It prints what a client outside of the
// cluster saw, and a verdict. The cluster stays until make kind-down.
package servicesdemo

import (
	"context"

	"github.com/kvip/kvip/test/demo/kindenv"
)

const clusterName = "services" // as in kind/services.yaml and kind/down.sh

// Main runs the demonstration and returns the exit code.
func Main(ctx context.Context) int {
	d := &demo{Env: &kindenv.Env{Target: "kind-services-demo", Name: clusterName}}
	return d.Main(ctx, d.run)
}

// Command servicesdemo shows what kvip does for Services of type LoadBalancer, in a real cluster in
// kind: an application in three pods behind one address, a pod that is made unready, a drain of the
// node that announces the address under load, and the death of such a node. It prints what a client
// outside the cluster saw of each, and a verdict.
//
// It is no test: it proves what it shows once. `make kind-services-demo` prepares what it needs, and
// `make kind-down` removes the cluster, which stays.
package main

import (
	"os"

	"github.com/kvip/kvip/kind/stage"
)

const clusterName = "services" // as kind/services.yaml and kind/down.sh have it

func main() {
	d := &demo{Stage: &stage.Stage{Target: "kind-services-demo", Name: clusterName}}
	os.Exit(d.Main(d.run))
}

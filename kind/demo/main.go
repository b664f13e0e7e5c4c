// Command demo shows kvip below a real Kubernetes cluster in kind: kubeadm, kubelet and containerd
// of three control planes and two workers, whose endpoint is kvip's address from before kubeadm
// init on. It kills the node that has the address, shows what a client sees, and mends the node.
//
// It is no test: it proves what it shows once. `make kind-demo` prepares what it needs, and
// `make kind-down` removes the cluster, which stays.
package main

import (
	"os"

	"github.com/kvip/kvip/kind/stage"
)

const (
	clusterName = "ha" // as kind/ha.yaml and kind/down.sh have it
	workers     = 2
)

func main() {
	d := &demo{Stage: &stage.Stage{Target: "kind-demo", Name: clusterName}}
	os.Exit(d.Main(d.run))
}

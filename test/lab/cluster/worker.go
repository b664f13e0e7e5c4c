package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/kvip/kvip/test/lab/netlab"
)

// WorkerKubeconfig is where a worker has a kubeconfig with an administrator's rights, for agents that are
// not run in a pod. No worker has one of kubeadm's names.
const WorkerKubeconfig = "/etc/kubernetes/agent.conf"

// addWorkers makes the hosts of Config.Workers.
func (c *Cluster) addWorkers() error {
	for i := range c.cfg.Workers {
		name := fmt.Sprintf("w%d", i+1)
		h, err := c.Lab.AddHost(netlab.HostConfig{Name: name, Addrs: prefixes(len(c.Nodes) + 1 + i), Forward: c.cfg.Forward})
		if err != nil {
			return err
		}
		n := &Node{Name: name, Host: h, c: c}
		c.Workers = append(c.Workers, n)
		if err := os.MkdirAll(n.kubernetes(""), 0o755); err != nil {
			return fmt.Errorf("make directory of worker %s: %w", name, err)
		}
		if err := copyFile(n.kubernetes(filepath.Base(WorkerKubeconfig)), c.Nodes[0].kubernetes("admin.conf")); err != nil {
			return fmt.Errorf("give worker %s a kubeconfig: %w", name, err)
		}
	}
	return nil
}

// AllNodes returns the nodes of the control plane and the workers.
func (c *Cluster) AllNodes() []*Node { return slices.Concat(c.Nodes, c.Workers) }

// IsWorker says that the node has no etcd and no API server.
func (n *Node) IsWorker() bool { return slices.Contains(n.c.Workers, n) }

// server is the node whose API server is asked for the sake of this one.
func (n *Node) server() *Node {
	if n.IsWorker() {
		return n.c.Nodes[0]
	}
	return n
}

// podEnv is where a pod on a worker finds the API, as the kubelet tells every pod: here that of the
// first node, as no kube-proxy serves the Service kubernetes. A pod on the control plane does without.
func (n *Node) podEnv() []string {
	if !n.IsWorker() {
		return nil
	}
	return []string{"KUBERNETES_SERVICE_HOST=" + n.server().Host.Addr(true).String(), "KUBERNETES_SERVICE_PORT=" + strconv.Itoa(Port)}
}

package servicelab

import (
	"fmt"
	"strings"

	"github.com/kvip/kvip/pkg/config"
	"github.com/kvip/kvip/test/lab/cluster"
)

// Arguments are those of an agent that serves Services on the node, with the administrator's
// rights, and then flags.
func Arguments(n *cluster.Node, flags ...string) []string {
	files := config.AdminKubeconfigs()
	if n.IsWorker() {
		files = []string{cluster.WorkerKubeconfig}
	}
	return append([]string{"manager", "--services", "--node-name=" + n.Name, "--kubeconfig=" +
		strings.Join(files, ",")}, flags...)
}

// StartAgent starts an agent with Arguments.
func (l *Lab) StartAgent(n *cluster.Node, flags ...string) error {
	if _, err := n.RunKvip(l.Kvip, Arguments(n, flags...), nil); err != nil {
		return fmt.Errorf("start agent on %s: %w", n.Name, err)
	}
	return nil
}

// StartAgents starts one on each of the nodes.
func (l *Lab) StartAgents(nodes []*cluster.Node, flags ...string) error {
	for _, n := range nodes {
		if err := l.StartAgent(n, flags...); err != nil {
			return err
		}
	}
	return nil
}
